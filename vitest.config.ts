import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const dist = (name: string) => fileURLToPath(new URL(`./dist/${name}.js`, import.meta.url));

export default defineConfig({
  resolve: {
    // Tests of the built package: the same files that workers and the command line load.
    alias: [
      { find: /^tsray$/, replacement: dist("index") },
      { find: /^tsray\/testing$/, replacement: dist("testing") },
      { find: /^tsray\/tune$/, replacement: dist("tune") },
    ],
  },
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    globalSetup: "test/leftovers.ts",
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: "forks",
    // Tests of clusters start dozens of processes each, and wait most of the time.
    maxWorkers: 2,
    server: { deps: { external: [/\/dist\//] } },
  },
});
