// What a peer is told when its request was not taken in: each kind of failure under the code that says what to do about it.

import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { ErrorDetailSchema } from "../../src/gen/service_pb.js";
import { RaftNodeError } from "../../src/node/errors.js";
import { StorageFault } from "../../src/storage/storage-fault.js";
import { answerFor } from "../../src/transport/answers.js";
import { EnvelopeError } from "../../src/transport/envelope.js";
import { BUSY_REASON, TransportError } from "../../src/transport/transport-errors.js";

const fault = { file: "a.snap", problem: "the disk is full", remedy: "make room" };

test.each([
  ["a malformed envelope", new EnvelopeError("malformed", "no message"), Code.InvalidArgument, "malformed"],
  [
    "a message that is too large",
    new EnvelopeError("tooLarge", "17 MiB"),
    Code.ResourceExhausted,
    "tooLarge",
  ],
  [
    "too many snapshots at once",
    new TransportError("busy", "two are coming in"),
    Code.ResourceExhausted,
    "busy",
  ],
  ["a full inbox", new RaftNodeError("inboxFull", "full"), Code.ResourceExhausted, BUSY_REASON],
  ["a node that stops", new RaftNodeError("nodeStopped", "stopping"), Code.Unavailable, "nodeStopped"],
  ["no room for a snapshot", new StorageFault("noSpace", fault), Code.ResourceExhausted, "noSpace"],
])("%s", (_, error, code, reason) => {
  const answer = answerFor(error);
  if (!(answer instanceof ConnectError)) throw new Error("it is passed on as it is");
  expect([answer.code, answer.findDetails(ErrorDetailSchema)[0]?.reason]).toEqual([code, reason]);
});

test("what nobody foresaw is passed on as it is", () => {
  const error = new Error("?");
  expect(answerFor(error)).toBe(error);
});
