const NAME = 'resource-lock-manager-key'

/** The API key that somebody entered: kept for this tab until it is closed, and nowhere else. */
export const keyring = {
  get: (): string | null => sessionStorage.getItem(NAME),
  set: (key: string): void => sessionStorage.setItem(NAME, key),
  forget: (): void => sessionStorage.removeItem(NAME)
}
