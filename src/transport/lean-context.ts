// A HandlerContext whose parts are made when they are asked for: most calls ask for none of them, and signals and
// header objects are most of what connect-es spends on a small call.

import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { Code, ConnectError, type ContextValues, type HandlerContext } from "@connectrpc/connect";
import type { CallEnding, Cancel, LeanCallParts } from "../node/ports.js";
import { connectionValues } from "./connection.js";
import { onAbortOf } from "./shared-signal.js";

/** One for all calls: a reason that is made anew for each, stack trace included, costs more than the rest of ending it. */
const CALL_OVER = new ConnectError("the call is over", Code.Canceled);

export interface LeanContextInit {
  readonly method: DescMethod;
  readonly protocolName: "connect" | "grpc";
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  readonly deadlineMs: number | undefined;
  readonly shutdownSignal: AbortSignal;
}

export class LeanContext implements HandlerContext, LeanCallParts, CallEnding {
  readonly requestMethod = "POST";
  readonly method: DescMethod;
  readonly service: DescService;
  readonly protocolName: string;
  readonly #init: LeanContextInit;
  readonly #startedAtMs = performance.now();
  #requestHeader: Headers | undefined;
  #responseHeader: Headers | undefined;
  #responseTrailer: Headers | undefined;
  #values: ContextValues | undefined;
  #controller: AbortController | undefined;
  #unlink: () => void = () => {};

  constructor(init: LeanContextInit) {
    this.#init = init;
    this.method = init.method;
    this.service = init.method.parent;
    this.protocolName = init.protocolName;
  }

  readonly timeoutMs = (): number | undefined => {
    const { deadlineMs } = this.#init;
    return deadlineMs === undefined ? undefined : deadlineMs - (performance.now() - this.#startedAtMs);
  };

  get url(): string {
    const { headers } = this.#init;
    return `${headers[":scheme"] ?? "http"}://${headers[":authority"] ?? ""}${headers[":path"] ?? ""}`;
  }

  get requestHeader(): Headers {
    this.#requestHeader ??= webHeaders(this.#init.headers);
    return this.#requestHeader;
  }

  get responseHeader(): Headers {
    this.#responseHeader ??= new Headers();
    return this.#responseHeader;
  }

  get responseTrailer(): Headers {
    this.#responseTrailer ??= new Headers();
    return this.#responseTrailer;
  }

  /** Without making them. */
  get headersSet(): Headers | undefined {
    return this.#responseHeader;
  }

  get trailersSet(): Headers | undefined {
    return this.#responseTrailer;
  }

  get values(): ContextValues {
    const { stream } = this.#init;
    this.#values ??= connectionValues(stream.session ?? stream, () => stream.session?.socket);
    return this.#values;
  }

  get signal(): AbortSignal {
    this.#controller ??= this.#link();
    return this.#controller.signal;
  }

  hasRequestHeader(name: string): boolean {
    return this.#init.headers[name] !== undefined;
  }

  get ending(): CallEnding {
    return this;
  }

  get hasEnded(): boolean {
    const { stream, shutdownSignal } = this.#init;
    return shutdownSignal.aborted || stream.closed || stream.destroyed;
  }

  onEnd(listener: () => void): Cancel {
    const { stream, shutdownSignal } = this.#init;
    const cancelShutdown = onAbortOf(shutdownSignal, listener);
    stream.once("close", listener);
    return () => {
      cancelShutdown();
      stream.off("close", listener);
    };
  }

  /** The call is over. */
  finish(reason?: unknown): void {
    this.#unlink();
    this.#controller?.abort(reason ?? CALL_OVER);
  }

  #link(): AbortController {
    const controller = new AbortController();
    const { stream, shutdownSignal } = this.#init;
    const onShutdown = (): void => controller.abort(shutdownSignal.reason);
    const onClose = (): void =>
      controller.abort(
        new ConnectError(`the client ended the call (HTTP/2 code ${stream.rstCode})`, Code.Canceled),
      );
    const onTimeout = (): void =>
      controller.abort(new ConnectError("the operation timed out", Code.DeadlineExceeded));
    if (shutdownSignal.aborted) onShutdown();
    else if (stream.closed || stream.destroyed) onClose();
    const cancelShutdown = onAbortOf(shutdownSignal, onShutdown);
    stream.once("close", onClose);
    const remainingMs = this.timeoutMs();
    // Timers hold 31 bits; a longer deadline is none.
    const timer =
      remainingMs === undefined || remainingMs > 0x7fff_ffff
        ? undefined
        : setTimeout(onTimeout, Math.max(0, remainingMs));
    this.#unlink = () => {
      cancelShutdown();
      stream.off("close", onClose);
      clearTimeout(timer);
    };
    return controller;
  }
}

/** HTTP/2 request headers as the web's; pseudo headers are left out. */
export function webHeaders(headers: IncomingHttpHeaders): Headers {
  const result = new Headers();
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || name.startsWith(":")) continue;
    if (typeof value === "string") result.set(name, value);
    else for (const each of value) result.append(name, each);
  }
  return result;
}
