// @grpc/grpc-js, the client that most programs for Node.js use. Its stubs are made from our descriptors.

import { create, type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import {
  bearerHeader,
  type ForeignCall,
  type ForeignClient,
  refusalOf,
  type Target,
} from "./foreign-client.js";

export function grpcJsClient({ address, tls }: Target): ForeignClient {
  const pem = (text: string | undefined) => (text === undefined ? null : Buffer.from(text));
  const client = new Client(
    address,
    tls === undefined
      ? credentials.createInsecure()
      : credentials.createSsl(pem(tls.ca), pem(tls.key), pem(tls.cert)),
  );
  return {
    unary: (method, request, call = {}) =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest(
          pathOf(method),
          writer(method.input),
          reader(method.output),
          create(method.input, request),
          ...settings(call),
          (error, answer) => {
            if (error !== null) reject(refusalOf(connectError(error)));
            else if (answer === undefined) reject(new Error("neither answer nor error"));
            else resolve(answer);
          },
        );
      }),
    stream: async function* (method, request, call = {}) {
      const stream = client.makeServerStreamRequest(
        pathOf(method),
        writer(method.input),
        reader(method.output),
        create(method.input, request),
        ...settings(call),
      );
      try {
        for await (const message of stream) yield message;
      } catch (error) {
        throw refusalOf(isServiceError(error) ? connectError(error) : error);
      } finally {
        stream.cancel();
      }
    },
    close: async () => client.close(),
  };
}

function pathOf(method: { readonly name: string; readonly parent: { readonly typeName: string } }): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function writer<T extends DescMessage>(schema: T) {
  return (message: MessageShape<T>): Buffer => Buffer.from(toBinary(schema, message));
}

function reader<T extends DescMessage>(schema: T) {
  return (bytes: Buffer): MessageShape<T> => fromBinary(schema, bytes);
}

function settings(call: ForeignCall): [Metadata, { deadline?: number }] {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(bearerHeader(call))) metadata.set(name, value);
  return [metadata, call.deadlineMs === undefined ? {} : { deadline: Date.now() + call.deadlineMs }];
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "metadata" in error && "details" in error;
}

/** The details travel in a trailer, as every gRPC client gets them. */
function connectError({ code, details, metadata }: ServiceError): ConnectError {
  const trailer = new Headers({ "grpc-status": String(code), "grpc-message": encodeURIComponent(details) });
  for (const value of metadata.get("grpc-status-details-bin")) {
    trailer.set("grpc-status-details-bin", Buffer.from(value).toString("base64"));
  }
  return findTrailerError(trailer) ?? new ConnectError(details);
}
