import { rawGet, rawPost } from '../support/bad-requests.js'
import type { Random } from '../support/random.js'

/** Bytes for a connection of its own. */
export interface Attack {
  readonly text: string
  /** The attacker hangs up as soon as everything is sent, and reads no answer. */
  readonly unread?: boolean
}

const NAMES = '"resource_name":"attacked","process_id":"attacker"'
const WRITES = [
  ['POST', '/locks/request'],
  ['POST', '/locks/renew'],
  ['POST', '/locks/release-all'],
  ['POST', '/locks/force-release-all'],
  ['DELETE', '/locks/release?resource_name=attacked&process_id=attacker']
] as const

const repeated = (random: Random, most: number, of: (index: number) => string, between = ','): string =>
  Array.from({ length: random.whole(1, most) }, (_, index) => of(index)).join(between)

const post = (body: string, ...headers: string[]): Attack => ({ text: rawPost([...headers, `Content-Length: ${Buffer.byteLength(body, 'latin1')}`].join('\r\n'), body) })

const text = (random: Random, most: number): string => random.pick(['x', '%00', '%ff', '%25', '.', '__proto__']).repeat(random.whole(1, most))

/** Each kind of attack that once did harm, or would where a bound is missing; every one is drawn anew. */
const ATTACKS: readonly ((random: Random) => Attack)[] = [
  // A query of many parameters, or of many with one name.
  (random) => {
    const name = text(random, 3)
    return { text: rawGet(`${random.pick(['/livez', '/locks/status', '/locks/watch', '/nowhere'])}?${repeated(random, 5000, (index) => random.pick([name, `${name}=`, String(index)]), '&').slice(0, 15_000)}`) }
  },
  // A write that a page of another site sends.
  (random) => {
    const [method, path] = random.pick(WRITES)
    const site = random.pick([['Origin: https://evil.example', 'Sec-Fetch-Site: cross-site'], ['Origin: null'], ['Sec-Fetch-Site: same-site'], ['Origin: http://localhost:3000']])
    return { text: [`${method} ${path} HTTP/1.1`, 'Host: localhost', 'Content-Type: text/plain', 'Content-Length: 2', ...site, '', '{}'].join('\r\n') }
  },
  // Many requests on one connection whose answers nobody reads.
  (random) => ({ text: rawGet(random.pick(['/openapi.json', '/docs/static/swagger-ui.css', '/dashboard', '/locks/status?resource_name=a', '/nowhere'])).repeat(random.whole(2, 300)), unread: true }),
  // A waiting request, or a stream, whose client goes away; behind it may come garbage.
  (random) => ({ text: rawGet(`/locks/watch?prefix=${text(random, 5)}`) + random.pick(['', 'garbage\r\n\r\n', rawGet('/livez')]), unread: true }),
  // A body in which nearly everything is wrong.
  (random) => post(`{${NAMES},${repeated(random, 6000, (index) => `"${index}":${random.pick(['1', 'null', '[]'])}`)}}`.slice(0, 65_000)),
  (random) => post(`{${repeated(random, 300, (index) => `"${'\\u0001'.repeat(random.whole(1, 30))}${index}":1`)}}`),
  (random) => post(`{"process_id":"p","resource_names":[${repeated(random, 20_000, () => random.pick(['1', '""', '"a"']))}]}`.slice(0, 65_000)),
  // Deep, long, and what no double or no text can keep.
  (random) => post(`{${NAMES},"metadata":{"a":${random.pick(['[', '{"a":']).repeat(random.whole(1, 10_000))}`),
  (random) => post(`{${NAMES},"metadata":{"n":${random.pick(['1e400', '-1e999', '9007199254740993', `0.${'3'.repeat(random.whole(1, 9000))}e400`])}}}`),
  (random) => post(`{${NAMES},"metadata":{"n":"${random.pick(['\\ud800', '\\u0000', '\xff'])}${'x'.repeat(random.whole(0, 5000))}"`),
  (random) => post(`{${NAMES},"ttl_seconds":${random.pick(['1e400', '-0', '1e-400', '"5"', '[5]', '5,"ttl_seconds":6'])},"a":1}`),
  // A body that is packed, or another one than its head says.
  (random) => post('\x1f\x8b\x08\0'.repeat(random.whole(1, 1000)), `Content-Encoding: ${random.pick(['gzip', 'br', 'deflate', 'zstd', 'x'])}`),
  (random) => ({ text: rawPost(`Content-Length: ${random.whole(10, 65_000)}`, `{${NAMES}`), unread: true }),
  (random) => ({ text: rawPost('Transfer-Encoding: chunked', repeated(random, 500, () => `${random.pick(['1\r\nx', '0', 'ffffffff\r\nx', 'z'])}\r\n`, '')) }),
  // Two hosts, another host, a forged address, and a head of many lines.
  (random) => ({ text: rawGet('/locks/status?resource_name=a', `Host: ${text(random, 20)}`) }),
  (random) => ({ text: ['GET /locks/all-locked HTTP/1.1', `Host: ${random.pick(['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example', '[::1', ''])}`, '', ''].join('\r\n') }),
  (random) => ({ text: rawGet('/nowhere', `X-Forwarded-For: ${text(random, 200)}`, `X-Request-Id: ${text(random, 200)}`, ...Array.from({ length: random.whole(0, 200) }, (_, index) => `X-${index}: y`)) }),
  // Keys and paths that are guessed.
  (random) => ({ text: rawGet(`/${text(random, 40)}`, `Authorization: ${random.pick(['Bearer', 'Basic', 'bearer  '])} rlm_${random.whole(0, 1e9).toString(36)}`) })
]

export function attackOf(random: Random): Attack {
  return random.pick(ATTACKS)(random)
}
