// Where somebody else says who may call what. Every call passes here right before its implementation, whatever its
// protocol: on the lean path directly, everywhere else as the outermost interceptor of connect-es.

import type { DescMethod } from "@bufbuild/protobuf";
import type { ConnectError, Interceptor } from "@connectrpc/connect";
import { type Connection, connectionKey } from "./connection.js";

export interface GuardedCall {
  readonly method: DescMethod;
  readonly connection: Connection;
  /** The header of this name; undefined: there is none. */
  readonly authorization: string | undefined;
  /** The same of this one: by which name an HTTP/1.1 client reached the node. */
  readonly host: string | undefined;
}

/** A stream that was let in. */
export interface Admission {
  /** Tells once, with what the caller is to get, when the permission is withdrawn. Returns how to stop that. */
  onWithdrawn(listener: (error: ConnectError) => void): () => void;
}

/** Lets a call in, or throws the ConnectError that the caller is to get. Undefined: nothing can withdraw it. */
export type CallGuard = (call: GuardedCall) => Admission | undefined;

/** The guard as the outermost of a router's interceptors. */
export function guardInterceptor(guard: CallGuard): Interceptor {
  return (next) => async (request) => {
    const admission = guard({
      method: request.method,
      connection: request.contextValues.get(connectionKey),
      authorization: request.header.get("authorization") ?? undefined,
      host: request.header.get("host") ?? undefined,
    });
    const response = await next(request);
    if (!response.stream || admission === undefined) return response;
    return { ...response, message: untilWithdrawn(response.message, admission) };
  };
}

/** Ends with the guard's error as soon as the permission is withdrawn, also while the stream waits for a message. */
async function* untilWithdrawn<T>(messages: AsyncIterable<T>, admission: Admission): AsyncGenerator<T> {
  const iterator = messages[Symbol.asyncIterator]();
  let withdrawn: ConnectError | undefined;
  let endWait: (error: ConnectError) => void = () => {};
  const stop = admission.onWithdrawn((error) => {
    withdrawn = error;
    endWait(error);
  });
  let ended = false;
  try {
    for (;;) {
      const result = await new Promise<IteratorResult<T>>((resolve, reject) => {
        endWait = reject;
        if (withdrawn !== undefined) reject(withdrawn);
        else iterator.next().then(resolve, reject);
      });
      if (result.done === true) {
        ended = true;
        return;
      }
      yield result.value;
    }
  } finally {
    stop();
    // It may be waiting for its next message: the end of the call, which follows, wakes it.
    if (!ended) void iterator.return?.().catch(() => {});
  }
}
