import t from 'tap'
import { COMPAT_APIS } from '../../src/compat/index.js'
import { COMPAT_API_NAMES, type CompatApiName } from '../../src/config.js'
import { TestApp } from '../support/app.js'
import { documentOf, operationsOf, servedRoutes } from '../support/openapi.js'
import { refused } from '../support/program.js'
import { Service } from '../support/service.js'

const PATHS: Readonly<Record<CompatApiName, RegExp>> = { 'traffic-jam': /^\/(?:un)?lock\//, documents: /^\/api\/lock\//, booking: /^\/api\/book$/, terraform: /^\/terraform\// }

for (const on of [[], ...COMPAT_API_NAMES.map((name) => [name]), COMPAT_API_NAMES]) {
  void t.test(`with ${on.join(' and ') || 'none'} of the other APIs on, no other is served or documented`, async (t) => {
    await using api = await TestApp.open('sqlite', { compatApis: on })
    const document = await documentOf(api)
    for (const name of COMPAT_API_NAMES) {
      const served = servedRoutes(api).some((route) => PATHS[name].test(route.split(' ')[1] ?? ''))
      t.equal(served, on.includes(name), name)
      const documented = operationsOf(document).filter(({ path }) => PATHS[name].test(path))
      t.equal(documented.length > 0, on.includes(name), name)
      for (const { operation } of documented) t.strictSame(operation.tags, [COMPAT_APIS[name].tag.name])
    }
    t.ok(servedRoutes(api).includes('POST /locks/request'))
    t.equal((await api.get('/lock/user/%ff')).status, on.includes('traffic-jam') ? 400 : 404)
  })
}

void t.test('COMPAT_APIS chooses them', async (t) => {
  await using service = await Service.start({ settings: { COMPAT_APIS: 'booking' } })
  t.match(await service.call('POST', '/api/book', { seat_number: 'A1' }), { status: 200 })
  t.match(await service.call('GET', '/lock/user/1'), { status: 404 })
  await refused(
    t,
    'server',
    { settings: { COMPAT_APIS: 'booking,redlock' } },
    /^COMPAT_APIS is 'booking,redlock'; expected some of traffic-jam, documents, booking, terraform, separated by commas, or none\.$/
  )
})
