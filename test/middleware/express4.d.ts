/** Express 4, for the guards; it has no types of its own, and those of Express 5 say enough here. */
declare module 'express4' {
  import express from 'express'

  export default express
}
