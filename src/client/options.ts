/** At most a day: a timer for longer than 24.8 days would fire at once. */
const LONGEST_TIMEOUT_SECONDS = 86_400

export const CLIENT_OPTIONS = ['url', 'apiKey', 'processId', 'retrySeconds', 'timeoutSeconds', 'listen', 'fetch', 'clock', 'random']
export const ACQUIRE_OPTIONS = ['ttlSeconds', 'autoRenew', 'metadata', 'processId', 'requestId', 'signal', 'waitSeconds', 'onWaiting', 'reentrant']

/** @throws TypeError for what is no object of these options; an option that is misspelt would silently be none. */
export function checkOptions(call: string, options: unknown, known: readonly string[]): void {
  const all = known.join(', ')
  if (typeof options !== 'object' || options === null) throw new TypeError(`${call} takes an object of options: ${all}`)
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue
    const given = name.toLowerCase()
    const meant = known.find((one) => one.toLowerCase().startsWith(given) || given.includes(one.toLowerCase()))
    throw new TypeError(`${call} has no option '${name}'; ${meant === undefined ? all : `did you mean '${meant}'?`}`)
  }
}

/** @throws TypeError that repeats neither a password nor a key, since messages end up in logs. */
export function checkService(url: unknown, apiKey: unknown): void {
  const parsed = typeof url === 'string' && URL.canParse(url) ? new URL(url) : undefined
  if (parsed !== undefined && `${parsed.username}${parsed.password}` !== '') throw new TypeError('The url holds a user or a password; the service knows keys: apiKey')
  if (parsed === undefined || !/^https?:$/.test(parsed.protocol)) throw new TypeError(`The url is '${String(url)}'; expected one that begins with http:// or https://`)
  if (apiKey !== undefined && !(typeof apiKey === 'string' && /^[!-~]+$/.test(apiKey))) throw new TypeError('The apiKey holds characters that no key has')
}

/** @throws RangeError for times that no call can have. */
export function checkTimes(retrySeconds: number, timeoutSeconds: number): void {
  if (!(timeoutSeconds > 0 && timeoutSeconds <= LONGEST_TIMEOUT_SECONDS)) throw new RangeError(`timeoutSeconds must be greater than 0 and at most ${LONGEST_TIMEOUT_SECONDS}`)
  if (!(retrySeconds >= 0)) throw new RangeError('retrySeconds must be a number, and at least 0')
}
