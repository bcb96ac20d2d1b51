// What the tests ask of every foreign client, and the refusal that each of them turns its own kind of error into.

import type {
  DescMessage,
  DescMethodServerStreaming,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { errorDetail } from "../../../src/services/connect-errors.js";

export interface Target {
  /** The `--listen` of a node, as host:port. */
  readonly address: string;
  /** Its `--http`. */
  readonly http: string;
  readonly tls?: { readonly ca: string; readonly cert?: string; readonly key?: string } | undefined;
}

export interface ForeignCall {
  readonly token?: string | undefined;
  readonly deadlineMs?: number | undefined;
}

export interface ForeignClient {
  /** @throws Refusal */
  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    call?: ForeignCall,
  ): Promise<MessageShape<O>>;
  /** @throws Refusal */
  stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    call?: ForeignCall,
  ): AsyncIterable<MessageShape<O>>;
  close(): Promise<void>;
}

/** How a call failed, as the client saw it. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  constructor(
    readonly code: keyof typeof Code,
    /** `ErrorDetail.reason`; empty without a detail. */
    readonly reason: string,
    message: string,
  ) {
    super(message);
  }
}

export function refusalOf(thrown: unknown): Refusal {
  const error = ConnectError.from(thrown);
  return new Refusal(codeName(error.code), errorDetail(error)?.reason ?? "", error.rawMessage);
}

function codeName(code: Code): keyof typeof Code {
  const names: Readonly<Record<number, string>> = Code;
  const name = names[code];
  return isCodeName(name) ? name : "Unknown";
}

function isCodeName(name: string | undefined): name is keyof typeof Code {
  return name !== undefined && name in Code;
}

export function bearerHeader({ token }: ForeignCall): Record<string, string> {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}
