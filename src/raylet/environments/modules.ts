/**
 * What a copy of a project finds in `node_modules` without installing anything: tsray, which is this node's own, and the
 * packages of the original directory where the node can see that.
 */
import { existsSync } from "node:fs";
import { mkdir, readdir, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { WORKER_ENTRY } from "../../core/launch/entries.ts";

/** Directory of the package that this node's workers run. */
export const TSRAY_DIR = packageOf(fileURLToPath(WORKER_ENTRY));

/** A tsx that tsray itself finds, for scripts whose own did not come along; undefined = there is none. */
export function ownTsx(): string | undefined {
  try {
    return dirname(createRequire(WORKER_ENTRY).resolve("tsx/package.json"));
  } catch {
    return undefined;
  }
}

/** Whether packages of the original can be used as they are. */
export function seesModulesOf(root: string): boolean {
  return modulesAbove(root).length > 0;
}

/** Makes `directory`/node_modules of links. @param root the original's path */
export async function linkModules(directory: string, root: string | undefined): Promise<void> {
  const modules = join(directory, "node_modules");
  await mkdir(modules, { recursive: true });
  const links = new Map<string, string>();
  for (const above of root === undefined ? [] : modulesAbove(root)) {
    for (const name of await readdir(above)) {
      if (name.startsWith(".")) continue;
      const inner = name.startsWith("@") ? await readdir(join(above, name)) : [""];
      for (const each of inner) {
        const id = join(name, each);
        if (!links.has(id)) links.set(id, join(above, id));
      }
    }
  }
  const tsx = ownTsx();
  if (tsx !== undefined && !links.has("tsx")) links.set("tsx", tsx);
  links.set("tsray", TSRAY_DIR);
  for (const [id, target] of links) await link(join(modules, id), target);
}

/** In what npm has installed, tsray is this node's own. */
export async function linkTsray(modules: string): Promise<void> {
  await mkdir(modules, { recursive: true });
  await link(join(modules, "tsray"), TSRAY_DIR);
  const tsx = ownTsx();
  if (tsx !== undefined && !existsSync(join(modules, "tsx"))) await link(join(modules, "tsx"), tsx);
}

async function link(path: string, target: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await symlink(target, path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
}

/** The node_modules directories that modules in `root` look into, the nearest first. */
function modulesAbove(root: string): string[] {
  const found: string[] = [];
  for (let at = root; ; at = dirname(at)) {
    if (existsSync(join(at, "node_modules"))) found.push(join(at, "node_modules"));
    if (at === dirname(at)) return found;
  }
}

function packageOf(file: string): string {
  let at = dirname(file);
  while (!existsSync(join(at, "package.json")) && at !== dirname(at)) at = dirname(at);
  return at;
}
