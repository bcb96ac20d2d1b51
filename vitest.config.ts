// Two kinds of tests: those that stay inside their process run beside each other, those that start processes of
// their own run one file after another, so that two cores are enough and elections are not starved.

import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const PROCESS_TESTS = "test/e2e/**/*.test.ts";

export default defineConfig({
  // The examples name the package as its users do.
  resolve: { alias: { "raft-node": fileURLToPath(new URL("src/index.ts", import.meta.url)) } },
  test: {
    globalSetup: "test/global-setup.ts",
    pool: "forks",
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: [PROCESS_TESTS],
          maxWorkers: 2,
          testTimeout: 30_000,
          hookTimeout: 30_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: "e2e",
          include: [PROCESS_TESTS],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
