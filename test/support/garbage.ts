/** A request to take a lock, as it goes over the wire. */
export const rawPost = (headers: string, body: string) => `POST /locks/request HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${headers}\r\n\r\n${body}`
export const rawGet = (url: string, ...headers: string[]) => [`GET ${url} HTTP/1.1`, 'Host: localhost', ...headers, '', ''].join('\r\n')

/** Bytes that are no request of this service, with the status that answers them. */
export const GARBAGE: readonly (readonly [status: number, text: string, code?: string])[] = [
  [400, 'garbage\r\n\r\n', 'BAD_REQUEST'],
  [400, '\0\x01\x02\x03\r\n\r\n', 'BAD_REQUEST'],
  [400, '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 'BAD_REQUEST'],
  [400, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'BAD_REQUEST'],
  [400, 'GET / HTTP/9.9\r\n\r\n', 'BAD_REQUEST'],
  [400, 'BREW /locks/status HTTP/1.1\r\nHost: localhost\r\n\r\n', 'BAD_REQUEST'],
  [400, 'GET /health HTTP/1.1\r\n\r\n', 'BAD_REQUEST'],
  [400, rawGet('/health', 'HOST: localhost'), 'BAD_REQUEST'],
  [400, rawGet('/%', 'host: other'), 'BAD_REQUEST'],
  [400, rawGet('/locks/status?resource_name=\xc3\xbc'), 'BAD_REQUEST'],
  [400, rawGet('/locks/status?resource_name=a\0b'), 'BAD_REQUEST'],
  [400, rawGet('/health', 'no colon'), 'BAD_REQUEST'],
  [400, rawGet('/health', 'X: a\0b'), 'BAD_REQUEST'],
  [404, rawGet('http://[bad/'), 'NOT_FOUND'],
  [404, rawGet('*'), 'NOT_FOUND'],
  [417, rawGet('/health', 'Expect: nonsense'), 'EXPECTATION_FAILED'],
  [431, rawGet('/health', `X: ${'x'.repeat(20_000)}`), 'HEADERS_TOO_LARGE'],
  [431, rawGet(`/${'x'.repeat(20_000)}`), 'HEADERS_TOO_LARGE'],
  [400, rawPost('Content-Length: -1', '{}'), 'BAD_REQUEST'],
  [400, rawPost('Content-Length: 2\r\nContent-Length: 3', '{}'), 'BAD_REQUEST'],
  [400, rawPost('Content-Length: 2\r\nTransfer-Encoding: chunked', '0\r\n\r\n'), 'BAD_REQUEST'],
  [400, rawPost('Transfer-Encoding: chunked', 'zz\r\n{}\r\n0\r\n\r\n'), 'BAD_REQUEST'],
  [400, rawPost('Transfer-Encoding: chunked, identity', '{}'), 'BAD_REQUEST'],
  [413, rawPost('Content-Length: 65537', ''), 'PAYLOAD_TOO_LARGE'],
  [413, rawPost('Transfer-Encoding: chunked', `11000\r\n${'x'.repeat(0x11000)}\r\n0\r\n\r\n`), 'PAYLOAD_TOO_LARGE'],
  [422, rawPost('Transfer-Encoding: chunked', '2\r\n{}\r\n0\r\n\r\n'), 'INVALID_REQUEST'],
  [422, rawPost('Content-Length: 0', ''), 'INVALID_REQUEST'],
  [422, rawPost('X: y', ''), 'INVALID_REQUEST'],
  [415, rawPost('Content-Length: 4\r\nContent-Encoding: gzip', '\x1f\x8b\x08\x00'), 'UNSUPPORTED_MEDIA_TYPE']
]
