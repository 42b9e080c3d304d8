// Generates src/core/wire/gen from proto/ (protoc from npm, stubs by ts-proto). `--check` fails when what is
// committed is not what proto/ says.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const committed = join(root, "src/core/wire/gen");
const check = process.argv.includes("--check");
const out = check ? mkdtempSync(join(tmpdir(), "tsray-proto-")) : committed;

function files(dir, prefix = "") {
  return readdirSync(join(dir, prefix), { withFileTypes: true }).flatMap((e) =>
    e.isDirectory() ? files(dir, join(prefix, e.name)) : [join(prefix, e.name)],
  );
}

if (!check) rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
const protos = files(join(root, "proto")).filter((f) => f.endsWith(".proto"));
execFileSync(
  join(root, "node_modules/.bin/protoc"),
  [
    `--plugin=protoc-gen-ts_proto=${join(root, "node_modules/.bin/protoc-gen-ts_proto")}`,
    `--ts_proto_out=${out}`,
    "--ts_proto_opt=outputServices=grpc-js,esModuleInterop=true,env=node,forceLong=number,oneof=unions-value,importSuffix=.ts,outputJsonMethods=false,useOptionals=none,unrecognizedEnum=false,enumsAsLiterals=true",
    `-I${join(root, "proto")}`,
    ...protos,
  ],
  { stdio: "inherit" },
);

if (check) {
  const wanted = files(out).sort();
  const have = files(committed).sort();
  const stale =
    wanted.join() !== have.join() ||
    wanted.some((f) => readFileSync(join(out, f), "utf8") !== readFileSync(join(committed, f), "utf8"));
  rmSync(out, { recursive: true, force: true });
  if (stale) {
    console.error("src/core/wire/gen is not what proto/ says: run `npm run proto` and commit the result");
    process.exit(1);
  }
}
