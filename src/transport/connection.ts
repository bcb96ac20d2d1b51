// What is known about the other end of a connection, for handlers that judge by more than headers.

import { isIPv6, type Socket } from "node:net";
import { type PeerCertificate, TLSSocket } from "node:tls";
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
    const certificate = verifiedCertificate(socket);
    return {
      remoteAddress,
      isEncrypted: true,
      isCertified: certificate !== undefined,
      certificateNames: certificate === undefined ? [] : namesOf(certificate),
    };
  } catch {
    // A socket that was unbound from its session meanwhile throws when it is looked at.
    return UNKNOWN;
  }
}

/** `authorized` alone is no proof: a TLS 1.3 session that is resumed counts as authorized without any certificate. */
function verifiedCertificate(socket: TLSSocket): PeerCertificate | undefined {
  if (!socket.authorized) return undefined;
  const certificate: Partial<PeerCertificate> = socket.getPeerCertificate();
  return isCertificate(certificate) ? certificate : undefined;
}

/** Without one, Node hands out an empty object. */
function isCertificate(certificate: Partial<PeerCertificate>): certificate is PeerCertificate {
  return certificate.raw !== undefined;
}

function namesOf(certificate: PeerCertificate): string[] {
  const commonName: unknown = certificate.subject?.CN;
  const names = typeof commonName === "string" ? [commonName] : [];
  for (const part of (certificate.subjectaltname ?? "").split(", ")) {
    if (part.startsWith("DNS:")) names.push(part.slice("DNS:".length));
  }
  return names;
}
