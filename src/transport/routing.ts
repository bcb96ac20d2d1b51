// What `routes` registered, by path: connect-es's handlers for every method, and beside them the bare
// implementations of unary methods, which `lean-server.ts` serves at a fraction of the cost.

import {
  type ConnectRouter,
  createConnectRouter,
  createMethodImplSpec,
  createServiceImplSpec,
  type MethodImplSpec,
} from "@connectrpc/connect";
import type { UniversalHandler, UniversalHandlerOptions } from "@connectrpc/connect/protocol";
import { compressionBrotli, compressionGzip } from "@connectrpc/connect-node";
import { type CallGuard, guardInterceptor } from "./call-guard.js";

export interface RoutingOptions {
  readonly routes: (router: ConnectRouter) => void;
  readonly shutdownSignal: AbortSignal;
  /** The largest request or response message of any route that sets no limit of its own. */
  readonly maxBytes: number;
  /** Judges every call of every route. Absent: all are let in. */
  readonly guard?: CallGuard | undefined;
}

type UnarySpec = Extract<MethodImplSpec, { kind: "unary" }>;

export interface UnaryMethod {
  readonly method: UnarySpec["method"];
  readonly implementation: UnarySpec["impl"];
  readonly readMaxBytes: number;
  readonly writeMaxBytes: number;
}

export interface Routing {
  readonly handlers: ReadonlyMap<string, UniversalHandler>;
  /** Unary methods that nothing but their implementation and size limits stands behind. */
  readonly unary: ReadonlyMap<string, UnaryMethod>;
  readonly shutdownSignal: AbortSignal;
  /** For `unary`: the handlers have it within them. */
  readonly guard: CallGuard | undefined;
}

export function buildRouting(options: RoutingOptions): Routing {
  const interceptors = options.guard === undefined ? [] : [guardInterceptor(options.guard)];
  const router = createConnectRouter({
    interceptors,
    acceptCompression: [compressionGzip, compressionBrotli],
    readMaxBytes: options.maxBytes,
    writeMaxBytes: options.maxBytes,
    shutdownSignal: options.shutdownSignal,
  });
  const unary = new Map<string, UnaryMethod>();
  const note = (spec: MethodImplSpec, own: Partial<UniversalHandlerOptions> = {}): void => {
    // Whatever else a route asks for, only connect-es knows how to do.
    const isPlain = Object.keys(own).every((name) => name === "readMaxBytes" || name === "writeMaxBytes");
    if (spec.kind !== "unary" || !isPlain) return;
    unary.set(`/${spec.method.parent.typeName}/${spec.method.name}`, {
      method: spec.method,
      implementation: spec.impl,
      readMaxBytes: own.readMaxBytes ?? options.maxBytes,
      writeMaxBytes: own.writeMaxBytes ?? options.maxBytes,
    });
  };
  // Interceptors that a route brings would replace those of the router.
  const guarded = (own: Partial<UniversalHandlerOptions> | undefined) =>
    own?.interceptors === undefined ? own : { ...own, interceptors: [...interceptors, ...own.interceptors] };
  const recorder: ConnectRouter = {
    handlers: router.handlers,
    service: (service, implementation, own) => {
      router.service(service, implementation, guarded(own));
      for (const spec of Object.values(createServiceImplSpec(service, implementation).methods))
        note(spec, own);
      return recorder;
    },
    rpc: (method, implementation, own) => {
      router.rpc(method, implementation, guarded(own));
      note(createMethodImplSpec(method, implementation), own);
      return recorder;
    },
  };
  options.routes(recorder);
  const handlers = new Map<string, UniversalHandler>();
  for (const handler of router.handlers) handlers.set(handler.requestPath, handler);
  return { handlers, unary, shutdownSignal: options.shutdownSignal, guard: options.guard };
}
