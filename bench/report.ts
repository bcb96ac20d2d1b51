// How a benchmark tells its figures: a table for people, one JSON object a line for scripts.

/** What a figure was measured with; part of its identity. */
export type Params = Readonly<Record<string, string | number | boolean>>;

export type Report = (name: string, value: number, unit: string, params?: Params) => void;

/** What was chosen on the command line, or the defaults. */
export type Options = Readonly<Record<string, number>>;

/** As `Options`, where several numbers make sense. */
export type Lists = Readonly<Record<string, readonly number[]>>;

/** One benchmark: measures and reports; `note` says in words what is not a figure. */
export interface Benchmark {
  readonly title: string;
  /** Numbers that may be given as `--name N`. */
  readonly options?: Readonly<Record<string, { readonly text: string; readonly default: number }>>;
  /** Lists of numbers that may be given as `--name N,N,...`. */
  readonly lists?: Readonly<Record<string, { readonly text: string; readonly default: readonly number[] }>>;
  run(report: Report, note: (text: string) => void, options: Options, lists: Lists): Promise<void> | void;
}

export function jsonReport(benchmark: string): Report {
  return (name, value, unit, params = {}) => {
    console.log(JSON.stringify({ name: `${benchmark}/${name}`, value: rounded(value), unit, params }));
  };
}

export const tableReport: Report = (name, value, unit, params = {}) => {
  const given = Object.entries(params)
    .map(([key, setting]) => `${key}=${setting}`)
    .join(" ");
  console.log(`  ${name.padEnd(34)} ${String(rounded(value)).padStart(12)} ${unit.padEnd(12)} ${given}`);
};

/** Four significant digits: more would only be noise. */
function rounded(value: number): number {
  return Number(value.toPrecision(4));
}

/** The middle of several runs: one run's noise must not decide. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
