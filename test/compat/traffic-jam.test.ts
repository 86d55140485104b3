import { onEachDatabase } from '../support/app.js'
import { allLocked, answersTo, type Call } from '../support/openapi.js'

const done = (message: string) => ({ success: true, message })
const refused = (message: string) => ({ success: false, message })
const locked = (...users: string[]) => ({ success: true, companyLocked: true, userLocks: users.map((userId) => ({ userId, locked: true })) })
const failed = (user: string) => ({ success: false, message: `Failed to lock user ${user}, all locks rolled back`, failedUser: user })

for (const [kind, Kind] of [['user', 'User'], ['contract', 'Contract']] as const) {
  const status = (holder: string | null, id = '456') => ({ [`${kind}Id`]: id, locked: holder !== null, holder })
  onEachDatabase(`locking a ${kind}`, async (t, api) => {
    await answersTo(t, api, [
      [`GET /lock/${kind}/456`, null, 200, status(null)],
      [`POST /lock/${kind}/456`, { processId: 'worker-1', ttl: 60 }, 200, done(`${Kind} 456 locked by process worker-1`)],
      [`POST /lock/${kind}/456`, { processId: 'worker-2' }, 409, refused(`${Kind} 456 is already locked`)],
      [`POST /lock/${kind}/456`, { processId: 'worker-1' }, 409, refused(`${Kind} 456 is already locked`)],
      [`GET /lock/${kind}/456`, null, 200, status('worker-1')],
      [`POST /unlock/${kind}/456`, { processId: 'worker-2' }, 403, refused(`${Kind} 456 is not locked by process worker-2`)],
      [`GET /lock/${kind}/456`, null, 200, status('worker-1')]
    ])
    t.strictSame(await allLocked(api), { [`lock:${kind}:456`]: 'worker-1' })
    await answersTo(t, api, [
      [`POST /unlock/${kind}/456`, { processId: 'worker-1' }, 200, done(`${Kind} 456 unlocked by process worker-1`)],
      [`POST /unlock/${kind}/456`, { processId: 'worker-1' }, 403, refused(`${Kind} 456 is not locked by process worker-1`)],
      [`GET /lock/${kind}/456`, null, 200, status(null)],
      [`POST /lock/${kind}/456`, { processId: 7, ttl: '30' }, 200, done(`${Kind} 456 locked by process 7`)],
      [`GET /lock/${kind}/456`, null, 200, status('7')],
      [`POST /lock/${kind}/a%2Fb%20%C3%BC`, { processId: 'p' }, 200, done(`${Kind} a/b ü locked by process p`)],
      [`GET /lock/${kind}/a%2Fb%20%C3%BC`, null, 200, status('p', 'a/b ü')]
    ])
  })

  onEachDatabase(`a lock on a ${kind} ends with its TTL, thirty seconds if none is named`, async (t, api) => {
    const lock = (body: object, status: number) => answersTo(t, api, [[`POST /lock/${kind}/x`, body, status, status === 200 ? done(`${Kind} x locked by process p`) : refused(`${Kind} x is already locked`)]])
    await lock({ processId: 'p' }, 200)
    await api.advance(29_999)
    await lock({ processId: 'p' }, 409)
    await api.advance(1)
    await answersTo(t, api, [[`POST /unlock/${kind}/x`, { processId: 'p' }, 403, refused(`${Kind} x is not locked by process p`)]])
    await lock({ processId: 'p', ttl: '1.5' }, 200)
    await api.advance(1499)
    await lock({ processId: 'p', ttl: 60 }, 409)
    await api.advance(1)
    await lock({ processId: 'p', ttl: 60 }, 200)
  })
}

const COMPANY = '/lock/company/789'
const company = (holder: string | null) => ({ companyId: '789', locked: holder !== null, holder })

onEachDatabase('locking a company with its users', async (t, api) => {
  const users = ['user-100', 'user-101', 'user-102']
  const all: Call[] = [
    [`GET ${COMPANY}`, null, 200, company(null)],
    [`POST ${COMPANY}`, { processId: 'batch-job-5', userIds: users, ttl: 120 }, 200, locked(...users)],
    [`GET ${COMPANY}`, null, 200, company('batch-job-5')],
    ['GET /lock/user/user-101', null, 200, { userId: 'user-101', locked: true, holder: 'batch-job-5' }],
    ['GET /lock/user/user-103', null, 200, { userId: 'user-103', locked: false, holder: null }],
    [`POST ${COMPANY}`, { processId: 'batch-job-5', userIds: [] }, 409, refused('Company already locked')],
    [`POST ${COMPANY}`, { processId: 'other', userIds: ['user-100'] }, 409, refused('Company already locked')]
  ]
  await answersTo(t, api, all)
  t.strictSame(await allLocked(api), { 'lock:company:789': 'batch-job-5', ...Object.fromEntries(users.map((id) => [`lock:user:${id}`, 'batch-job-5'])) })
  await answersTo(t, api, [
    [
      'POST /unlock/company/789',
      { processId: 'other', userIds: ['user-100'] },
      200,
      { companyUnlocked: false, userUnlocks: [{ userId: 'user-100', unlocked: false }] }
    ],
    [
      'POST /unlock/company/789',
      { processId: 'batch-job-5', userIds: ['user-102', 'free', 'user-100', 'user-102'] },
      200,
      {
        companyUnlocked: true,
        userUnlocks: [{ userId: 'user-102', unlocked: true }, { userId: 'free', unlocked: false }, { userId: 'user-100', unlocked: true }]
      }
    ]
  ])
  t.strictSame(await allLocked(api), { 'lock:user:user-101': 'batch-job-5' }, 'users left out stay locked')
  await api.advance(120_000)
  t.strictSame(await allLocked(api), {})
})

onEachDatabase('a company is locked whole or not at all, and the first user in the way is named', async (t, api) => {
  await answersTo(t, api, [
    ['POST /lock/user/2', { processId: 'p' }, 200, done('User 2 locked by process p')],
    ['POST /lock/user/3', { processId: 'q' }, 200, done('User 3 locked by process q')],
    [`POST ${COMPANY}`, { processId: 'p', userIds: ['1', '3', '2'] }, 409, failed('3')],
    [`POST ${COMPANY}`, { processId: 'p', userIds: [1, 2] }, 409, failed('2')],
    [`GET ${COMPANY}`, null, 200, company(null)]
  ])
  t.strictSame(await allLocked(api), { 'lock:user:2': 'p', 'lock:user:3': 'q' })
  await answersTo(t, api, [
    [`POST ${COMPANY}`, { processId: 'p', userIds: [] }, 200, locked()],
    ['POST /unlock/company/789', { processId: 'p', userIds: [] }, 200, { companyUnlocked: true, userUnlocks: [] }],
    [`POST ${COMPANY}`, { processId: 'p', userIds: ['1', '1', 1, '4'] }, 200, locked('1', '4')],
    ['POST /lock/company/other', { processId: 'p', userIds: ['5', '1'] }, 409, failed('1')]
  ])
  await api.advance(30_000)
  t.strictSame(await allLocked(api), {}, 'thirty seconds if none are named')
})

onEachDatabase('a company may have a thousand users', async (t, api) => {
  const userIds = Array.from({ length: 1000 }, (_, index) => `u${index}`)
  await answersTo(t, api, [
    [`POST ${COMPANY}`, { processId: 'p', userIds }, 200, locked(...userIds)],
    ['POST /lock/company/other', { processId: 'q', userIds: userIds.toReversed() }, 409, failed('u999')],
    ['POST /unlock/company/789', { processId: 'p', userIds }, 200, { companyUnlocked: true, userUnlocks: userIds.map((userId) => ({ userId, unlocked: true })) }]
  ])
  t.strictSame(await allLocked(api), {})
})

onEachDatabase('of six companies that share a user and race, one is locked, and the others leave nothing behind', async (t, api) => {
  const companies = Array.from({ length: 6 }, (_, index) => ({ id: `c${index}`, processId: `p${index}`, userIds: [`own${index}a`, 'shared', `own${index}b`] }))
  for (let round = 0; round < 10; round += 1) {
    const answers = await Promise.all(companies.map(({ id, ...body }) => api.post(`/lock/company/${id}`, body)))
    const [winner, ...others] = companies.filter((_, index) => answers[index]?.status === 200)
    t.strictSame(others, [], 'no second winner')
    if (winner === undefined) throw new Error('nobody won')
    const { id, processId, userIds } = winner
    for (const answer of answers) if (answer.status !== 200) t.match(answer, { status: 409, body: failed('shared') })
    t.strictSame(await allLocked(api), Object.fromEntries([`lock:company:${id}`, ...userIds.map((user) => `lock:user:${user}`)].map((name) => [name, processId])))
    t.match(await api.post(`/unlock/company/${id}`, { processId, userIds }), { status: 200, body: { companyUnlocked: true } })
  }
  t.strictSame(await allLocked(api), {})
})
