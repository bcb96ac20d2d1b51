// How a local cluster looks on a screen: one line a node, redrawn in place on a terminal, and written only when
// something has changed into a pipe or a file.

/** What is known of one node at a moment. */
export type NodeView =
  | {
      readonly kind: "running";
      readonly id: number;
      readonly role: string;
      readonly term: bigint;
      readonly commit: bigint;
      readonly applied: bigint;
    }
  /** The process runs but did not answer in time. */
  | { readonly kind: "silent"; readonly id: number }
  | { readonly kind: "stopped"; readonly id: number; readonly how: string };

const COUNTER_WIDTH = 10;
/** Where nothing is redrawn, progress of the log alone is worth a line this often. */
const PROGRESS_LINE_MS = 10_000;

/** One line a node, under a heading. Every line has the same shape, so that nothing jumps while it is redrawn. */
export function formatClusterView(nodes: readonly NodeView[]): string[] {
  const heading = [
    "node",
    "role".padEnd(13),
    ...["term", "commit", "applied"].map((name) => name.padStart(COUNTER_WIDTH)),
  ];
  return [heading.join("  "), ...nodes.map(formatNode)];
}

function formatNode(node: NodeView): string {
  const id = String(node.id).padEnd(4);
  if (node.kind !== "running") return `${id}  ${inWords(node)}`;
  const counters = [node.term, node.commit, node.applied].map((count) =>
    String(count).padStart(COUNTER_WIDTH),
  );
  return [id, node.role.padEnd(13), ...counters].join("  ");
}

function inWords(node: NodeView): string {
  switch (node.kind) {
    case "silent":
      return "not answering";
    case "stopped":
      return node.how;
    case "running":
      return `${node.role} term ${node.term} commit ${node.commit} applied ${node.applied}`;
  }
}

/** All nodes in one line, for logs and pipes. */
export function formatClusterLine(nodes: readonly NodeView[]): string {
  return nodes.map((node) => `node ${node.id} ${inWords(node)}`).join(" | ");
}

export interface Screen {
  readonly isTTY: boolean;
  readonly columns: number;
  write(text: string): void;
}

/** Shows views one after another; anything else that is to be printed goes through `print`. */
export class ClusterDisplay {
  readonly #screen: Screen;
  #drawn: string[] = [];
  #lastLine = "";
  #lastState = "";
  #lastLineAtMs = Number.NEGATIVE_INFINITY;

  constructor(screen: Screen) {
    this.#screen = screen;
  }

  /** @param nowMs of a clock that never goes back. */
  show(nodes: readonly NodeView[], nowMs: number): void {
    if (this.#screen.isTTY) this.#redraw(formatClusterView(nodes));
    else this.#append(nodes, nowMs);
  }

  /** Text that stays, above the nodes' lines. */
  print(...lines: readonly string[]): void {
    const below = this.#drawn;
    this.#erase();
    this.#screen.write(lines.map((line) => `${line}\n`).join(""));
    if (this.#screen.isTTY) this.#redraw(below);
  }

  /** Leaves the nodes' lines as they are; what follows comes below them. */
  finish(): void {
    this.#drawn = [];
  }

  #redraw(lines: readonly string[]): void {
    // A line that wraps would take two rows, and the next redraw would start one row too low.
    const fitting = lines.map((line) => line.slice(0, Math.max(this.#screen.columns - 1, 1)));
    if (fitting.join("\n") === this.#drawn.join("\n")) return;
    this.#erase();
    this.#drawn = fitting;
    this.#screen.write(this.#drawn.map((line) => `${line}\n`).join(""));
  }

  #erase(): void {
    if (this.#drawn.length > 0) this.#screen.write(`\u001b[${this.#drawn.length}A\u001b[0J`);
    this.#drawn = [];
  }

  #append(nodes: readonly NodeView[], nowMs: number): void {
    const state = nodes
      .map((node) => (node.kind === "running" ? `${node.role} ${node.term}` : inWords(node)))
      .join("|");
    const line = formatClusterLine(nodes);
    const isDue = nowMs - this.#lastLineAtMs >= PROGRESS_LINE_MS && line !== this.#lastLine;
    if (state === this.#lastState && !isDue) return;
    this.#lastState = state;
    this.#lastLine = line;
    this.#lastLineAtMs = nowMs;
    this.#screen.write(`${line}\n`);
  }
}
