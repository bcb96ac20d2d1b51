// What a local cluster looks like: redrawn in place on a terminal, one line per change elsewhere. The screen is a
// string, on which the control sequences of a terminal are played.

import { describe, expect, test } from "vitest";
import { ClusterDisplay, type NodeView } from "../../src/cli/cluster/cluster-view.js";

function leader(id: number, term = 2n, commit = 5n): NodeView {
  return { kind: "running", id, role: "leader", term, commit, applied: commit };
}

function follower(id: number, commit = 5n): NodeView {
  return { kind: "running", id, role: "follower", term: 2n, commit, applied: commit - 1n };
}

const killed: NodeView = { kind: "stopped", id: 3, how: "was killed by SIGKILL" };

const ESCAPE = String.fromCharCode(27);
const CONTROL = new RegExp(`(\n|${ESCAPE}\\[\\d+A${ESCAPE}\\[0J)`);
const UP = new RegExp(`^${ESCAPE}\\[(\\d+)A`);

class TestScreen {
  readonly written: string[] = [];
  constructor(
    readonly isTTY: boolean,
    readonly columns = 80,
  ) {}

  write(text: string): void {
    this.written.push(text);
  }

  /** What stands on the screen after everything that was written. */
  get lines(): string[] {
    const lines = [""];
    for (const part of this.written.join("").split(CONTROL)) {
      const [, up] = UP.exec(part) ?? [];
      if (up !== undefined) lines.splice(lines.length - 1 - Number(up), Number(up) + 1, "");
      else if (part === "\n") lines.push("");
      else lines.push((lines.pop() ?? "") + part);
    }
    return lines.slice(0, -1);
  }
}

describe("on a terminal", () => {
  test("each node has one line with its role, term, commit and applied, which is redrawn in place", () => {
    const screen = new TestScreen(true);
    const display = new ClusterDisplay(screen);
    display.show([{ kind: "silent", id: 1 }, { kind: "silent", id: 2 }, killed], 0);
    display.show([leader(1), follower(2), killed], 500);
    expect(screen.lines).toEqual([
      "node  role                 term      commit     applied",
      "1     leader                  2           5           5",
      "2     follower                2           5           4",
      "3     was killed by SIGKILL",
    ]);
  });

  test("nothing is written when nothing has changed", () => {
    const screen = new TestScreen(true);
    const display = new ClusterDisplay(screen);
    display.show([leader(1)], 0);
    const before = screen.written.length;
    display.show([leader(1)], 500);
    expect(screen.written.length).toBe(before);
  });

  test("text that stays goes above the nodes' lines", () => {
    const screen = new TestScreen(true);
    const display = new ClusterDisplay(screen);
    display.show([leader(1)], 0);
    display.print("one", "two");
    display.show([leader(1, 3n)], 500);
    expect(screen.lines.slice(0, 2)).toEqual(["one", "two"]);
    expect(screen.lines).toHaveLength(4);
  });

  test("a line never wraps, so that the next redraw begins in the right row", () => {
    const screen = new TestScreen(true, 20);
    new ClusterDisplay(screen).show([leader(1), follower(2), killed], 0);
    expect(Math.max(...screen.lines.map((line) => line.length))).toBe(19);
  });

  test("after the end the last lines stay", () => {
    const screen = new TestScreen(true);
    const display = new ClusterDisplay(screen);
    display.show([leader(1)], 0);
    display.finish();
    display.print("stopped");
    expect(screen.lines).toHaveLength(3);
  });
});

describe("in a pipe", () => {
  test("a line is written when a role or a term changes, without control sequences", () => {
    const screen = new TestScreen(false);
    const display = new ClusterDisplay(screen);
    display.show([follower(1), follower(2), { kind: "silent", id: 3 }], 0);
    display.show([leader(1), follower(2), killed], 500);
    expect(screen.written).toEqual([
      "node 1 follower term 2 commit 5 applied 4 | node 2 follower term 2 commit 5 applied 4 | node 3 not answering\n",
      "node 1 leader term 2 commit 5 applied 5 | node 2 follower term 2 commit 5 applied 4 | node 3 was killed by SIGKILL\n",
    ]);
  });

  test("progress alone is written now and then, not at every look", () => {
    const screen = new TestScreen(false);
    const display = new ClusterDisplay(screen);
    for (let at = 0; at <= 10_000; at += 500) display.show([leader(1, 2n, BigInt(at))], at);
    expect(screen.written).toEqual([
      "node 1 leader term 2 commit 0 applied 0\n",
      "node 1 leader term 2 commit 10000 applied 10000\n",
    ]);
  });
});
