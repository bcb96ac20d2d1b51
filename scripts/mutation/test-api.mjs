// As much of Vitest as the tests of the core use, without its runner: thousands of runs in one process have to be
// cheap, and a test is nothing but a name and a function here. The assertions are Vitest's own.

import { chai, JestAsymmetricMatchers, JestChaiExpect, JestExtend, setState } from "@vitest/expect";

/** The tests that the file being loaded defines. */
let tests = [];
/** Names and hooks of the file and of the enclosing `describe`s. */
let suites = [];

/** @returns the tests that `load` defines: `{ name, run }`, where `run` may return a promise, and fails by throwing. */
export function collect(load) {
  tests = [];
  suites = [{ name: "", before: [], after: [] }];
  load();
  return tests;
}

export function describe(name, define) {
  suites.push({ name: String(name), before: [], after: [] });
  try {
    define();
  } finally {
    suites.pop();
  }
}

export function test(name, ...rest) {
  const body = rest.find((part) => typeof part === "function");
  const enclosing = [...suites];
  const names = [...enclosing.slice(1).map((suite) => suite.name), String(name)];
  tests.push({
    name: names.join(" > "),
    async run() {
      for (const { before } of enclosing) for (const hook of before) await hook();
      try {
        await body();
      } finally {
        for (const { after } of enclosing) for (const hook of after) await hook();
      }
    },
  });
}

/** Both give the row to `define` once for each; `spread` as arguments of their own if it is an array. */
function repeated(define, spread) {
  return (rows) =>
    (name, ...rest) => {
      const body = rest.find((part) => typeof part === "function");
      for (const [position, row] of rows.entries()) {
        const args = spread && Array.isArray(row) ? row : [row];
        define(`${name} #${position + 1}`, () => body(...args));
      }
    };
}

test.each = repeated(test, true);
test.for = repeated(test, false);
describe.each = repeated(describe, true);
describe.for = repeated(describe, false);

export function beforeEach(hook) {
  suites.at(-1)?.before.push(hook);
}

export function afterEach(hook) {
  suites.at(-1)?.after.push(hook);
}

chai.use(JestExtend);
chai.use(JestChaiExpect);
chai.use(JestAsymmetricMatchers);

export function expect(value, message) {
  return chai.expect(value, message);
}
Object.assign(expect, chai.expect);
setState({ assertionCalls: 0, isExpectingAssertions: false, expectedAssertionsNumber: null }, expect);
