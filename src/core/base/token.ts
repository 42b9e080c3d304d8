/** The cluster token: making, comparing in constant time, reading from files. Never logged, never in argv. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { InvalidOptionError } from "./errors.ts";

const TOKEN_CHARS_MIN = 16;
const TOKEN_CHARS_MAX = 4096;

/** A new token of 256 random bits. */
export function makeToken(): string {
  return randomBytes(32).toString("base64url");
}

/** Compares without telling by its duration where two tokens differ. */
export function tokensEqual(given: string, expected: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}

/** @throws InvalidOptionError when the token is too short to be a secret, or holds white space */
export function checkToken(token: unknown, where: string): string {
  if (
    typeof token !== "string" ||
    token.length < TOKEN_CHARS_MIN ||
    token.length > TOKEN_CHARS_MAX ||
    /\s/.test(token)
  ) {
    throw new InvalidOptionError(
      `${where} must be a string of ${TOKEN_CHARS_MIN} to ${TOKEN_CHARS_MAX} characters without white space (make one with \`tsray token\`)`,
    );
  }
  return token;
}

/** Reads a token from the first line of a file. @throws InvalidOptionError when it cannot be read or is no token */
export function readTokenFile(path: string, where: string): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new InvalidOptionError(`${where}: cannot read ${path}: ${(cause as Error).message}`, { cause });
  }
  return checkToken(text.trim(), where);
}
