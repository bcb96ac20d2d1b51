// What is known about the other end of a connection, for handlers that judge by more than headers.

import { isIPv6, type Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { type ContextValues, createContextKey, createContextValues } from "@connectrpc/connect";

export interface Connection {
  /** Empty when the connection is gone already. */
  readonly remoteAddress: string;
  readonly isEncrypted: boolean;
  /** The client presented a certificate that was verified. */
  readonly isCertified: boolean;
  /** The names in the client's certificate (common name, DNS names), if it presented one that was verified. */
  readonly certificateNames: readonly string[];
}

const UNKNOWN: Connection = {
  remoteAddress: "",
  isEncrypted: false,
  isCertified: false,
  certificateNames: [],
};

/** Set on every call that came through a listener of this folder. */
export const connectionKey = createContextKey<Connection>(UNKNOWN, { description: "connection" });

const known = new WeakMap<object, Connection>();

/** `owner` lives as long as the connection; what is found out is kept with it. */
export function connectionOf(owner: object, socketOf: () => Socket | undefined): Connection {
  let connection = known.get(owner);
  if (connection === undefined) {
    connection = inspect(socketOf);
    known.set(owner, connection);
  }
  return connection;
}

/** For the context of a call that came through this connection. */
export function connectionValues(owner: object, socketOf: () => Socket | undefined): ContextValues {
  return createContextValues().set(connectionKey, connectionOf(owner, socketOf));
}

export function isLoopback(address: string): boolean {
  const plain = isIPv6(address) ? address.replace(/^::ffff:/i, "") : address;
  return plain === "::1" || plain.startsWith("127.");
}

function inspect(socketOf: () => Socket | undefined): Connection {
  try {
    // Over HTTP/2 this is a stand-in for the socket: it has the socket's properties and prototype, nothing else.
    const socket = socketOf();
    if (socket === undefined) return UNKNOWN;
    const remoteAddress = socket.remoteAddress ?? "";
    if (!(socket instanceof TLSSocket)) {
      return { remoteAddress, isEncrypted: false, isCertified: false, certificateNames: [] };
    }
    const isCertified = socket.authorized;
    const certificateNames = isCertified ? namesOf(socket) : [];
    return { remoteAddress, isEncrypted: true, isCertified, certificateNames };
  } catch {
    // A socket that was unbound from its session meanwhile throws when it is looked at.
    return UNKNOWN;
  }
}

function namesOf(socket: TLSSocket): string[] {
  const certificate = socket.getPeerCertificate();
  const commonName: unknown = certificate.subject?.CN;
  const names = typeof commonName === "string" ? [commonName] : [];
  for (const part of (certificate.subjectaltname ?? "").split(", ")) {
    if (part.startsWith("DNS:")) names.push(part.slice("DNS:".length));
  }
  return names;
}
