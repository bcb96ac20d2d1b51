// How property tests run: always the same cases, unless PROPERTY_SEED or PROPERTY_RUNS says otherwise. fast-check
// prints the seed and the smallest counterexample of a failure.

const DEFAULT_SEED = 4_321;
const DEFAULT_RUNS = 1_000;

export function propertyRuns(runs = DEFAULT_RUNS): { readonly seed: number; readonly numRuns: number } {
  return {
    seed: numberFrom("PROPERTY_SEED", DEFAULT_SEED),
    numRuns: numberFrom("PROPERTY_RUNS", runs),
  };
}

function numberFrom(variable: string, fallback: number): number {
  const text = process.env[variable];
  if (text === undefined || text === "") return fallback;
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new Error(`${variable} must be a whole number, is "${text}"`);
  return value;
}
