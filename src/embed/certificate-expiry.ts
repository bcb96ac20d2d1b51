// When certificates end, and a word in the log long before that: renewing them is somebody's job, and forgotten.

import { X509Certificate } from "node:crypto";
import type { Logger } from "../node/ports.js";

/** Milliseconds since the epoch. */
export interface CertificateExpiry {
  /** The earliest end in this node's certificate and its chain. */
  readonly certificateMs: number;
  /** The earliest end among the authorities; absent without a file of them. */
  readonly authorityMs?: number | undefined;
}

const DAY_MS = 24 * 60 * 60 * 1_000;
const WARN_BEFORE_MS = 14 * DAY_MS;

export function expiryOf({ cert, ca }: { readonly cert: string; readonly ca?: string }): CertificateExpiry {
  return {
    certificateMs: earliestEnd(cert),
    ...(ca === undefined ? {} : { authorityMs: earliestEnd(ca) }),
  };
}

/** Warns once a day from 14 days before the end on, and as an error after it. */
export class ExpiryWatch {
  #toldMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly logger: Logger,
    /** Milliseconds since the epoch. */
    private readonly dateMs: () => number,
  ) {}

  /** Renewed certificates are told of anew. */
  renewed(): void {
    this.#toldMs = Number.NEGATIVE_INFINITY;
  }

  look({ certificateMs, authorityMs = Number.POSITIVE_INFINITY }: CertificateExpiry): void {
    const nowMs = this.dateMs();
    const endMs = Math.min(certificateMs, authorityMs);
    if (endMs - nowMs > WARN_BEFORE_MS || nowMs - this.#toldMs < DAY_MS) return;
    this.#toldMs = nowMs;
    const what = certificateMs <= authorityMs ? "the certificate of this node" : "an authority's certificate";
    const fields = { expiresAt: new Date(endMs).toISOString() };
    if (endMs > nowMs)
      this.logger.warn(fields, `${what} expires soon: replace its file; no restart is needed`);
    else this.logger.error(fields, `${what} has expired: new connections fail until its file is replaced`);
  }
}

function earliestEnd(pem: string): number {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [pem];
  return Math.min(...blocks.map(endOf));
}

/** Whether a certificate is of any use was found out before; here it only must not be in the way. */
function endOf(pem: string): number {
  try {
    return new Date(new X509Certificate(pem).validTo).getTime();
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
