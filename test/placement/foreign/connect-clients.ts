// connect-node's own clients, over a transport of any kind.

import type { Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import {
  bearerHeader,
  type ForeignCall,
  type ForeignClient,
  refusalOf,
  type Target,
} from "./foreign-client.js";

export function connectClient({ address, tls }: Target): ForeignClient {
  return overTransport(createConnectTransport({ httpVersion: "2", ...ends(address, tls) }));
}

export function grpcClient({ address, tls }: Target): ForeignClient {
  return overTransport(createGrpcTransport(ends(address, tls)));
}

function ends(address: string, tls: Target["tls"]) {
  return tls === undefined
    ? { baseUrl: `http://${address}` }
    : { baseUrl: `https://${address}`, nodeOptions: tls };
}

function overTransport(transport: Transport): ForeignClient {
  const optionsOf = (call: ForeignCall) => ({
    headers: bearerHeader(call),
    ...(call.deadlineMs === undefined ? {} : { timeoutMs: call.deadlineMs }),
  });
  return {
    unary: async (method, request, call = {}) => {
      const { headers, timeoutMs } = { timeoutMs: undefined, ...optionsOf(call) };
      try {
        const answer = await transport.unary(method, undefined, timeoutMs, headers, request);
        return answer.message;
      } catch (error) {
        throw refusalOf(error);
      }
    },
    stream: async function* (method, request, call = {}) {
      const { headers, timeoutMs } = { timeoutMs: undefined, ...optionsOf(call) };
      const end = new AbortController();
      try {
        const input = (async function* () {
          yield request;
        })();
        const answer = await transport.stream(method, end.signal, timeoutMs, headers, input);
        yield* answer.message;
      } catch (error) {
        throw refusalOf(error);
      } finally {
        end.abort();
      }
    },
    close: async () => {},
  };
}
