// KvService: the client's view of the key-value store. Writes go through the leader's log, wherever they were sent
// to; reads are answered from this node's own state, linearizable ones once the leader has confirmed an index.

import { create } from "@bufbuild/protobuf";
import { type ConnectRouter, createClient, type HandlerContext } from "@connectrpc/connect";
import type { LogIndex } from "../../core/types.js";
import type { KvResult } from "../../gen/records_pb.js";
import { DeleteResponseSchema, KvService, ReadConsistency, SetResponseSchema } from "../../gen/service_pb.js";
import type { CallOptions } from "../../node/calls.js";
import { RaftNodeError } from "../../node/errors.js";
import type { LeaderCalls } from "../../services/leader-calls.js";
import { decodeResult, encodeDelete, encodeSet } from "./kv-command.js";
import { DEFAULT_MAX_VALUE_BYTES, keyProblem } from "./kv-limits.js";
import type { KvStateMachine } from "./kv-state-machine.js";

/** What is asked of the node here; a RaftNode fits. */
export interface ProposingNode {
  propose(
    data: Uint8Array,
    options?: CallOptions,
  ): Promise<{ readonly index: LogIndex; readonly result: Uint8Array }>;
}

export interface KvRoutesOptions {
  readonly node: ProposingNode;
  readonly calls: LeaderCalls;
  readonly machine: Pick<KvStateMachine, "get" | "exists">;
  /** Default 1 MiB. */
  readonly maxValueBytes?: number | undefined;
}

/** Mounts KvService on a Connect router. */
export function kvRoutes(options: KvRoutesOptions): (router: ConnectRouter) => void {
  const { node, calls, machine } = options;
  const maxValueBytes = options.maxValueBytes ?? DEFAULT_MAX_VALUE_BYTES;

  const propose = async (command: Uint8Array, call: CallOptions): Promise<KvResult> => {
    const result = decodeResult((await node.propose(command, call)).result);
    if (result.rejected !== "") throw new RaftNodeError("invalidArgument", result.rejected);
    return result;
  };
  const beforeRead = async (key: string, consistency: ReadConsistency, context: HandlerContext) => {
    await calls.local("read", () => checkKey(key));
    if (consistency !== ReadConsistency.SERIALIZABLE) await calls.linearize(context);
  };

  return (router) =>
    router.service(KvService, {
      set: async (request, context) => {
        await calls.local("write", () => {
          checkKey(request.key);
          checkValue(request.value, maxValueBytes);
        });
        return calls.write(context, {
          here: async (call) => {
            const { revision } = await propose(encodeSet(request.key, request.value), call);
            return create(SetResponseSchema, { revision });
          },
          there: (transport, call) => createClient(KvService, transport).set(request, call),
        });
      },
      delete: async (request, context) => {
        await calls.local("write", () => checkKey(request.key));
        return calls.write(context, {
          here: async (call) => {
            const { existed, revision } = await propose(encodeDelete(request.key), call);
            return create(DeleteResponseSchema, { deleted: existed, revision });
          },
          there: (transport, call) => createClient(KvService, transport).delete(request, call),
        });
      },
      get: async (request, context) => {
        await beforeRead(request.key, request.consistency, context);
        return calls.local("read", () => {
          const record = machine.get(request.key);
          if (record === undefined) return { found: false };
          const { value, createRevision, modRevision, version } = record;
          return { found: true, value, createRevision, modRevision, version };
        });
      },
      exists: async (request, context) => {
        await beforeRead(request.key, request.consistency, context);
        return calls.local("read", () => ({ exists: machine.exists(request.key) }));
      },
    });
}

function checkKey(key: string): void {
  const problem = keyProblem(key);
  if (problem !== undefined) throw new RaftNodeError("invalidArgument", problem);
}

function checkValue(value: Uint8Array, maxValueBytes: number): void {
  if (value.length <= maxValueBytes) return;
  const [size, limit] = [value.length, maxValueBytes].map((bytes) => bytes.toLocaleString("en"));
  throw new RaftNodeError(
    "tooLarge",
    `value has ${size} bytes, the limit is ${limit}: store something smaller`,
  );
}
