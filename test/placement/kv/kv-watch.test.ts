// A single watch and the history behind it, step by step: what is forgotten and when, who is too slow, how a response
// is cut.

import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { KvRecordSchema } from "../../../src/gen/records_pb.js";
import { KeyRangeSchema, type WatchResponse } from "../../../src/gen/service_pb.js";
import { systemClock } from "../../../src/node/system-clock.js";
import { KvHistory } from "../../../src/placement/kv/kv-history.js";
import { keySpan } from "../../../src/placement/kv/kv-key-range.js";
import { type WatchOptions, watchChanges } from "../../../src/placement/kv/kv-watch.js";

function append(history: KvHistory, key: string, valueBytes = 1): void {
  const record = create(KvRecordSchema, { value: Buffer.alloc(valueBytes) });
  history.append([{ key, record, previous: undefined }]);
  history.wake();
}

function watchOf(history: KvHistory, options: Partial<WatchOptions> = {}): AsyncGenerator<WatchResponse> {
  return watchChanges({
    history,
    span: keySpan(create(KeyRangeSchema, { range: { case: "prefix", value: "k" } })),
    fromRevision: 1n,
    previousValues: false,
    progressIntervalMs: 60_000,
    clock: systemClock,
    signal: new AbortController().signal,
    hindrance: () => undefined,
    ...options,
  });
}

async function nextOf(watch: AsyncGenerator<WatchResponse>) {
  const { value } = await watch.next();
  return [value?.revision, value?.events.length];
}

test("the history keeps the newest revisions, up to its limits in number and bytes", () => {
  const few = new KvHistory({ maxRevisions: 3 });
  for (let number = 0; number < 5_000; number += 1) append(few, `k${number}`);
  expect([few.floor, few.head]).toEqual([4_997n, 5_000n]);
  expect(few.at(4_997n)).toBeUndefined();
  expect(few.at(4_998n)?.events[0]?.key).toBe("k4997");

  const small = new KvHistory({ maxBytes: 10_000 });
  for (let number = 0; number < 50; number += 1) append(small, "k", 1_000);
  expect(small.bytes).toBeLessThanOrEqual(10_000);
  append(small, "k", 50_000);
  expect([small.floor, small.head]).toEqual([50n, 51n]);
});

test("a watch that falls back is ended while it can still go on elsewhere; one that begins far back may catch up", async () => {
  const history = new KvHistory({ maxRevisions: 100 });
  const watch = watchOf(history);
  expect(await nextOf(watch)).toEqual([0n, 0]);
  append(history, "k");
  expect(await nextOf(watch)).toEqual([1n, 1]);
  for (let number = 0; number < 90; number += 1) append(history, "k");
  await expect(watch.next()).rejects.toThrow(
    /it has had all up to revision 1, the newest is 91; go on from 2/,
  );

  const late = watchOf(history, { fromRevision: 2n });
  expect(await nextOf(late)).toEqual([1n, 0]);
  expect(await nextOf(late)).toEqual([91n, 90]);
});

test("a watch whose place was forgotten is told so", async () => {
  const history = new KvHistory({ maxRevisions: 10 });
  const watch = watchOf(history);
  await watch.next();
  for (let number = 0; number < 30; number += 1) append(history, "k");
  await expect(watch.next()).rejects.toThrow(
    /revision 1 is too long ago: this node keeps changes from 21 on/,
  );
  const replaced = watchOf(history, { fromRevision: 31n });
  await replaced.next();
  history.reset(50n);
  await expect(replaced.next()).rejects.toThrow(/keeps changes from 51 on/);
});

test("responses are cut between revisions, by number and by bytes", async () => {
  const history = new KvHistory();
  for (let number = 0; number < 2_500; number += 1) append(history, number % 2 === 0 ? "k" : "other");
  const watch = watchOf(history);
  expect(await nextOf(watch)).toEqual([0n, 0]);
  expect(await nextOf(watch)).toEqual([1_999n, 1_000]);
  expect(await nextOf(watch)).toEqual([2_500n, 250]);
  for (let number = 0; number < 3; number += 1) append(history, "k", 600_000);
  expect(await nextOf(watch)).toEqual([2_502n, 2]);
  expect(await nextOf(watch)).toEqual([2_503n, 1]);
});

test("earlier values beyond a limit are left out, and said to be", async () => {
  const history = new KvHistory();
  const previous = create(KvRecordSchema, { value: Buffer.alloc(5 * 1024 * 1024) });
  history.append(["k1", "k2"].map((key) => ({ key, record: undefined, previous })));
  history.append([{ key: "k3", record: undefined, previous }]);
  const watch = watchOf(history, { previousValues: true });
  await watch.next();
  const events = [
    ...((await watch.next()).value?.events ?? []),
    ...((await watch.next()).value?.events ?? []),
  ];
  expect(events.map((event) => [event.previousOmitted, event.previous?.value.length])).toEqual([
    [true, undefined],
    [true, undefined],
    [false, 5 * 1024 * 1024],
  ]);
});

test("a watch ends when its signal fires, when the store is closed, or when it is hindered", async () => {
  const history = new KvHistory();
  const controller = new AbortController();
  const aborted = watchOf(history, { signal: controller.signal });
  await aborted.next();
  const pending = aborted.next();
  controller.abort();
  expect((await pending).done).toBe(true);

  const hindered = watchOf(history, { progressIntervalMs: 1, hindrance: () => new Error("in the way") });
  await hindered.next();
  await expect(hindered.next()).rejects.toThrow("in the way");

  const closed = watchOf(history);
  await closed.next();
  const waiting = closed.next();
  history.end();
  await expect(waiting).rejects.toThrow("this node is stopping");
});
