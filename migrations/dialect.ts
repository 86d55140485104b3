/** The databases that there are migrations for. */
export type DialectName = 'sqlite' | 'postgres'
