// The text format in which Prometheus reads metrics (version 0.0.4). Times go out in seconds.

/** How many values fell at or below each bound; `counts` has one more, for what lies above all of them. */
export interface HistogramValues {
  readonly boundsMs: readonly number[];
  /** Not cumulative. */
  readonly counts: readonly number[];
  readonly count: number;
  readonly sumMs: number;
}

export type Labels = Readonly<Record<string, string>>;

export const PROMETHEUS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

export class PrometheusText {
  /** By name: all samples of a metric must stand together. */
  readonly #families = new Map<string, string[]>();

  /** @param prefix before every name but those of `raw`. */
  constructor(private readonly prefix: string) {}

  /** Only grows; the name ends in `_total`. */
  counter(name: string, help: string, value: number | bigint, labels: Labels = {}): void {
    this.#sample(`${this.prefix}${name}`, "counter", help, value, labels);
  }

  gauge(name: string, help: string, value: number | bigint, labels: Labels = {}): void {
    this.#sample(`${this.prefix}${name}`, "gauge", help, value, labels);
  }

  /** Under exactly this name: for what every process is expected to tell. */
  raw(name: string, type: "counter" | "gauge", help: string, value: number): void {
    this.#sample(name, type, help, value, {});
  }

  /** The name ends in `_seconds`. */
  histogram(name: string, help: string, values: HistogramValues, labels: Labels = {}): void {
    const family = this.#family(`${this.prefix}${name}`, "histogram", help);
    const full = `${this.prefix}${name}`;
    let sum = 0;
    for (const [at, boundMs] of values.boundsMs.entries()) {
      sum += values.counts[at] ?? 0;
      family.push(line(`${full}_bucket`, sum, { ...labels, le: seconds(boundMs) }));
    }
    family.push(line(`${full}_bucket`, values.count, { ...labels, le: "+Inf" }));
    family.push(line(`${full}_sum`, values.sumMs / 1_000, labels));
    family.push(line(`${full}_count`, values.count, labels));
  }

  toString(): string {
    return `${[...this.#families.values()].flat().join("\n")}\n`;
  }

  #sample(name: string, type: string, help: string, value: number | bigint, labels: Labels): void {
    this.#family(name, type, help).push(line(name, value, labels));
  }

  #family(name: string, type: string, help: string): string[] {
    const known = this.#families.get(name);
    if (known !== undefined) return known;
    const family = [`# HELP ${name} ${escaped(help)}`, `# TYPE ${name} ${type}`];
    this.#families.set(name, family);
    return family;
  }
}

function line(name: string, value: number | bigint, labels: Labels): string {
  const shown = Object.entries(labels).map(
    ([label, text]) => `${label}="${escaped(text).replaceAll('"', '\\"')}"`,
  );
  const braces = shown.length === 0 ? "" : `{${shown.join(",")}}`;
  return `${name}${braces} ${value}`;
}

/** Without the digits that dividing by 1,000 adds: 0.1 ms is 0.0001 s. */
function seconds(ms: number): string {
  return `${Number((ms / 1_000).toPrecision(12))}`;
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}
