/** The server's own programs that `rlm` starts, and what each is for. */
export const PROGRAMS = {
  serve: 'Runs the service. Its settings come from the environment or a file .env; see the README.',
  migrate: 'Brings the database that DATABASE_URL names to the newest version, and ends.',
  keys: 'Makes, lists and revokes the API keys of the database that DATABASE_URL names.'
} as const

export type ProgramName = keyof typeof PROGRAMS
