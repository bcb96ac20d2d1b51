// Appends that only tell of a newer commit index wait for one turn, and are left out when another append says the same.
// The rule by itself, and real nodes on ports in memory.

import { describe, expect, test } from "vitest";
import { newMessage, newNormalEntry } from "../../src/core/messages.js";
import { type Message, MessageType } from "../../src/gen/eraftpb_pb.js";
import { CommitNotices } from "../../src/node/commit-notices.js";
import { Group } from "../support/node-harness.js";
import { bytesOf } from "../support/node-machine.js";

const append = (to: bigint, index: bigint, commit: bigint, entries = 0, term = 2n): Message =>
  newMessage(MessageType.MsgAppend, to, {
    term,
    index,
    commit,
    entries: Array.from({ length: entries }, (_, n) => newNormalEntry(term, index + BigInt(n) + 1n)),
  });

describe("a notice", () => {
  /** Each turn is a list of Readys; the result lists what was sent at once and at the turn's end. */
  function sent(...turns: Message[][][]): string[] {
    const notices = new CommitNotices();
    return turns.map((readys) => {
      notices.beginTurn();
      const now = readys.flatMap((messages) => notices.sift(messages, () => {}));
      return [now, notices.endTurn()]
        .map((list) => list.map(({ to, index, commit }) => `${to}:${index}/${commit}`).join(" "))
        .join(" | ");
    });
  }

  test("goes out at the end of the next turn, if nothing else does", () => {
    expect(sent([[append(2n, 5n, 5n), append(3n, 5n, 5n)]], [], [])).toEqual([
      " | ",
      " | 2:5/5 3:5/5",
      " | ",
    ]);
  });

  test("is left out when an append to the same peer goes out from the same place or further on", () => {
    const turns = sent([[append(2n, 5n, 5n), append(3n, 5n, 5n)]], [[append(2n, 5n, 5n, 2)]], []);
    expect(turns).toEqual([" | ", "2:5/5 | 3:5/5", " | "]);
    expect(sent([[append(2n, 5n, 5n)], [append(2n, 7n, 6n, 1)]], [])).toEqual(["2:7/6 | ", " | "]);
  });

  test("stays when the append begins earlier, knows less, or is of an older term", () => {
    for (const other of [append(2n, 4n, 9n, 1), append(2n, 5n, 4n, 1), append(2n, 9n, 9n, 1, 1n)]) {
      expect(sent([[append(2n, 5n, 5n)]], [[other]])[1]).toContain("| 2:5/5");
    }
  });

  test("is put off once, even if there is a newer one in every turn", () => {
    const turns = [6n, 7n, 8n, 9n].map((commit) => [[append(2n, 5n, commit)]]);
    expect(sent(...turns, [])).toEqual([" | ", " | 2:5/7", " | ", " | 2:5/9", " | "]);
  });

  test("that waits wakes the node, and other messages do not wait", () => {
    const notices = new CommitNotices();
    let woken = 0;
    const beat = newMessage(MessageType.MsgHeartbeat, 2n);
    expect(notices.sift([beat], () => (woken += 1))).toEqual([beat]);
    expect(woken).toBe(0);
    expect(notices.sift([append(2n, 5n, 5n)], () => (woken += 1))).toEqual([]);
    expect(woken).toBe(1);
  });
});

test("commands that follow on each other take one append each, and the last is told of without delay", async () => {
  const group = await Group.led([1n, 2n, 3n]);
  await group.clock.advance(300);
  const leader = group.leader();
  if (leader === undefined) throw new Error("no leader");
  const count = () => leader.events.filter((event) => event.startsWith("send MsgAppend to")).length;
  const before = count();
  // Each is proposed when the one before is answered; no time passes.
  let answer = Promise.resolve();
  for (let n = 0; n < 20; n += 1) {
    answer = answer.then(async () => {
      await leader.node.propose(bytesOf(`c${n}`));
    });
  }
  await group.clock.settle();
  await answer;
  expect(count() - before).toBe(2 * (20 + 1));
  for (const { machine } of group.stations) expect(machine.commands).toHaveLength(20);
  await group.stop();
});
