// RaftClientService: commands and queries of the embedder's own state machine, as bytes. Commands are done by the
// leader, wherever they were sent to; queries are answered here, at the level that is asked for.

import { create } from "@bufbuild/protobuf";
import { type ConnectRouter, createClient } from "@connectrpc/connect";
import type { LogIndex } from "../core/types.js";
import { RaftClientService, ReadResponseSchema, WriteResponseSchema } from "../gen/service_pb.js";
import type { CallOptions } from "../node/calls.js";
import type { StateMachine } from "../node/ports.js";
import { ServiceError } from "./connect-errors.js";
import type { LeaderCalls } from "./leader-calls.js";

/** What is asked of the node here; a RaftNode fits. */
export interface WritableNode {
  propose(
    data: Uint8Array,
    options?: CallOptions,
  ): Promise<{ readonly index: LogIndex; readonly result: Uint8Array }>;
}

export interface ClientRoutesOptions {
  readonly node: WritableNode;
  readonly calls: LeaderCalls;
  /** Without a `query`, reads are answered with `unsupported`. */
  readonly stateMachine: Pick<StateMachine, "appliedIndex" | "query">;
}

/**
 * Mounts RaftClientService on a Connect router. Whoever can call it can put any command into the log: the state
 * machine must bear what makes no sense.
 */
export function clientRoutes(options: ClientRoutesOptions): (router: ConnectRouter) => void {
  const { node, calls, stateMachine } = options;
  return (router) =>
    router.service(RaftClientService, {
      write: (request, context) =>
        calls.write(context, {
          lean: true,
          here: async (call) => create(WriteResponseSchema, await node.propose(request.command, call)),
          there: (transport, call) => createClient(RaftClientService, transport).write(request, call),
        }),
      read: async (request, context) => {
        await calls.linearize(context, request);
        return calls.local("read", async () => {
          if (stateMachine.query === undefined) {
            throw new ServiceError("unsupported", "the state machine of this node answers no queries");
          }
          // Taken before: while a query waits, more may be applied, and the answer need not contain it.
          const applied = stateMachine.appliedIndex;
          const result = await stateMachine.query(request.query);
          return create(ReadResponseSchema, { result, applied });
        });
      },
    });
}
