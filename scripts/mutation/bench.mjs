// Where mutants are tried: keeps a worker, knows which tests come by which mutant, and ends those that do not end.

import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";

const WORKER = fileURLToPath(new URL("worker.mjs", import.meta.url));
const LOOK_EVERY_MS = 200;
/** A test that takes this long, or so many times as long as without a mutant, will not end. */
const MIN_TEST_MS = 3_000;
const TIME_FACTOR = 5;
const MAX_HEAP_MB = 512;
const NO_MUTANT = "none";

export class Bench {
  #bundle;
  #worker;
  /** How many tests of the present mutant have ended. */
  #progress = new Int32Array(new SharedArrayBuffer(4));
  #tests = [];
  #coverage = { static: {}, perTest: {} };
  /** How many mutants each test has seen through: those that saw most are asked first. */
  #kills = new Map();

  /**
   * Must come first. Runs the tests twice, the second time as if for a mutant: a test that only the first run of a
   * process passes would be taken for one that sees mutants.
   * @returns the number of tests, and those that fail as it is.
   */
  async runUnchanged(bundle) {
    await this.use(bundle);
    const { tests, coverage, failures } = await this.#ask({ kind: "unchanged" });
    this.#tests = tests;
    this.#coverage = coverage;
    if (failures.length === 0) {
      const { failed } = await this.#ask({ kind: "mutant", mutant: NO_MUTANT, tests });
      if (failed !== undefined) failures.push(`${failed}: only when it runs again`);
    }
    return { count: tests.length, failures };
  }

  /** The mutants from now on are those of this bundle, which has the tests of the one before it. */
  async use(bundle) {
    await this.close();
    this.#bundle = bundle;
  }

  /** @returns status `killed` (by a failing test), `timeout`, `survived` or `not covered`. */
  async runMutant(mutant) {
    const tests = this.#testsOf(mutant);
    if (tests.length === 0) return { status: "not covered", tests: 0 };
    Atomics.store(this.#progress, 0, 0);
    const answer = await this.#ask({ kind: "mutant", mutant, tests }, tests);
    if (answer === undefined) return { status: "timeout", tests: tests.length };
    if (answer.failed === undefined) return { status: "survived", tests: tests.length };
    const { failed } = answer;
    this.#kills.set(failed, (this.#kills.get(failed) ?? 0) + 1);
    return { status: "killed", by: failed, tests: tests.length };
  }

  async close() {
    await this.#worker?.terminate();
    this.#worker = undefined;
  }

  /** Cheapest first, but before them those that have seen through many. What the core does on loading concerns all. */
  #testsOf(mutant) {
    const { static: onLoading, perTest } = this.#coverage;
    const isStatic = onLoading[mutant] !== undefined;
    return this.#tests
      .filter(({ id, file }) => isStatic || [id, file].some((by) => perTest[by]?.[mutant] !== undefined))
      .map((test) => ({ ...test, hits: perTest[test.id]?.[mutant] ?? 0 }))
      .map((test) => ({ test, cost: test.ms / (1 + (this.#kills.get(`${test.file} > ${test.name}`) ?? 0)) }))
      .sort((a, b) => a.cost - b.cost)
      .map(({ test }) => test);
  }

  /** @returns the answer; undefined when a test did not end, or the worker did not survive it. */
  #ask(task, tests) {
    this.#worker ??= new Worker(WORKER, {
      workerData: { bundle: this.#bundle, progress: this.#progress },
      resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB },
    });
    const worker = this.#worker;
    return new Promise((resolve, reject) => {
      let seen = -1;
      let since = performance.now();
      const watch = setInterval(() => {
        const done = Atomics.load(this.#progress, 0);
        if (done !== seen) {
          seen = done;
          since = performance.now();
        } else if (tests !== undefined) {
          const limitMs = Math.max(MIN_TEST_MS, (tests[done]?.ms ?? 0) * TIME_FACTOR);
          if (performance.now() - since > limitMs) giveUp();
        }
      }, LOOK_EVERY_MS);
      const finish = (settle, value) => {
        clearInterval(watch);
        worker.off("message", answered).off("error", giveUp);
        settle(value);
      };
      const giveUp = (error) => {
        this.#worker = undefined;
        void worker.terminate();
        if (tests === undefined) finish(reject, error);
        else finish(resolve, undefined);
      };
      const answered = (answer) => finish(resolve, answer);
      worker.on("message", answered).on("error", giveUp);
      worker.postMessage(task);
    });
  }
}
