/** The raylet's side of the begun page (core/launch/begun-page.ts): made for a worker, read when it has ended. */
import { closeSync, constants, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { randomId } from "../../core/base/ids.ts";
import { BEGUN_PAGE_BYTES, readBegun } from "../../core/launch/begun-page.ts";

export class BegunPage {
  readonly fd: number;

  private constructor(fd: number) {
    this.fd = fd;
  }

  /** Undefined where shared memory is full: then nobody knows what had begun. The file has no name from here on. */
  static make(): BegunPage | undefined {
    const path = `/dev/shm/tsray-begun-${randomId(16)}`;
    try {
      const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
      try {
        unlinkSync(path);
        // Written, not only sized: a page that cannot be had must not be found out by a signal.
        writeSync(fd, Buffer.alloc(BEGUN_PAGE_BYTES));
        return new BegunPage(fd);
      } catch (error) {
        closeSync(fd);
        throw error;
      }
    } catch {
      return undefined;
    }
  }

  read(): Map<string, number> {
    const page = Buffer.alloc(BEGUN_PAGE_BYTES);
    readSync(this.fd, page, 0, BEGUN_PAGE_BYTES, 0);
    return readBegun(page);
  }

  close(): void {
    closeSync(this.fd);
  }
}
