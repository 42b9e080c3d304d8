/** The command line was asked for something wrongly: exit code 2. */
export class UsageError extends Error {}
