// One page of a node's --http, over TLS where the cluster has it, with the token of whoever asks.

import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { type ClientTls, clientTls } from "../../embed/tls.js";

export interface PageOptions {
  readonly tls: ClientTls | undefined;
  /** The header of this name. */
  readonly authorization: string | undefined;
  readonly timeoutMs: number;
  /** A longer answer is an error. */
  readonly maxBytes: number;
}

export interface Page {
  readonly status: number;
  readonly text: string;
}

/** @throws Error that says what is wrong: of the network, the certificates, or the length */
export function getPage(address: string, path: string, options: PageOptions): Promise<Page> {
  const { tls, authorization, timeoutMs, maxBytes } = options;
  const url = `${tls === undefined ? "http" : "https"}://${address}${path}`;
  const common = {
    headers: authorization === undefined ? {} : { authorization },
    signal: AbortSignal.timeout(timeoutMs),
    agent: false,
  } as const;
  return new Promise((resolve, reject) => {
    const call =
      tls === undefined ? requestHttp(url, common) : requestHttps(url, { ...common, ...clientTls(tls) });
    call.once("error", reject);
    call.once("response", (response) => {
      const parts: Buffer[] = [];
      let bytes = 0;
      response.on("data", (part: Buffer) => {
        bytes += part.length;
        if (bytes > maxBytes) call.destroy(new Error(`the answer exceeds ${maxBytes} bytes`));
        else parts.push(part);
      });
      response.once("error", reject);
      response.once("end", () =>
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString() }),
      );
    });
    call.end();
  });
}
