// Certificates of a node: read from files, checked, and read again while the node runs. And the rule that nothing
// leaves this machine in the clear unless somebody said so.

import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { isIPv6 } from "node:net";
import { createSecureContext } from "node:tls";
import type { Cancel, Clock, Logger } from "../node/ports.js";
import { formatAddress, type HostAndPort } from "../services/address.js";
import { type CertificateExpiry, ExpiryWatch, expiryOf } from "./certificate-expiry.js";

/** TLS that must not be used as it is configured; the message is a sentence for operators. */
export class TlsConfigInvalid extends Error {
  override readonly name = "TlsConfigInvalid";
}

/** The files are PEM. They are read again while the node runs: replacing them renews the certificates. */
export interface TlsOptions {
  /** The certificate of this node, with its chain. Its names must hold the host that others dial. */
  readonly certFile: string;
  readonly keyFile: string;
  /**
   * The authorities that sign peers and clients. Present: mutual TLS, nobody gets in without a certificate of theirs.
   * Absent: this node verifies others by the authorities that Node.js trusts, but whoever connects to it needs no
   * certificate: only tokens tell who calls.
   */
  readonly caFile?: string | undefined;
  /**
   * With `caFile`: clients may also come without a certificate; their tokens say who they are. Who shows one of these
   * authorities is a peer, or counts as a client with a certificate. Default false.
   */
  readonly optionalClientCertificates?: boolean | undefined;
  /** Names of which a peer's certificate must hold one (common name or DNS name). Default: any. Needs `caFile`. */
  readonly peerNames?: readonly string[] | undefined;
  /** How often the files are looked at. Default 10,000. */
  readonly reloadIntervalMs?: number | undefined;
}

/** PEM texts, as Node.js takes them for servers and for clients. */
export interface TlsMaterial {
  readonly cert: string;
  readonly key: string;
  readonly ca?: string;
}

/** What a client of a cluster with TLS shows and trusts; PEM texts. */
export interface ClientTls {
  /** Default: the authorities that Node.js trusts. */
  readonly ca?: string | undefined;
  /** For clusters with mutual TLS; goes with `key`. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

export interface CertificatesOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Milliseconds since the epoch. Default: `Date.now`. */
  readonly dateMs?: (() => number) | undefined;
}

const DEFAULT_RELOAD_INTERVAL_MS = 10_000;

export class Certificates {
  readonly #files: TlsOptions;
  readonly #options: CertificatesOptions;
  readonly #listeners = new Set<(material: TlsMaterial) => void>();
  readonly #stopWatching: Cancel;
  readonly #expiryWatch: ExpiryWatch;
  #current: TlsMaterial;
  #expiry: CertificateExpiry;
  #reloading: Promise<boolean> | undefined;
  /** A refused pair of files is told once, not at every look. */
  #refusal: string | undefined;

  private constructor(files: TlsOptions, options: CertificatesOptions, material: TlsMaterial) {
    this.#files = files;
    this.#options = options;
    this.#current = material;
    this.#expiry = expiryOf(material);
    this.#expiryWatch = new ExpiryWatch(options.logger, options.dateMs ?? Date.now);
    this.#expiryWatch.look(this.#expiry);
    this.#stopWatching = options.clock.every(files.reloadIntervalMs ?? DEFAULT_RELOAD_INTERVAL_MS, () => {
      void this.reload();
    });
  }

  /** Reads and checks the files. @throws TlsConfigInvalid */
  static async load(files: TlsOptions, options: CertificatesOptions): Promise<Certificates> {
    if (files.peerNames !== undefined && files.caFile === undefined) {
      throw new TlsConfigInvalid(
        "an allow-list of peer names needs the file of the authorities that vouch for these names (caFile, --tls-ca)",
      );
    }
    if (files.optionalClientCertificates === true && files.caFile === undefined) {
      throw new TlsConfigInvalid(
        "optional client certificates (--tls-optional-client-certs) need the file of the authorities that sign them (caFile, --tls-ca)",
      );
    }
    if (files.peerNames?.length === 0) {
      throw new TlsConfigInvalid("the allow-list of peer names is empty: name the peers, or leave it out");
    }
    const material = await read(files);
    warnOfOwnName(material, files, options.logger);
    return new Certificates(files, options, material);
  }

  /** As of the last time that the files made sense. */
  get current(): TlsMaterial {
    return this.#current;
  }

  /** When the current ones end. */
  get expiry(): CertificateExpiry {
    return this.#expiry;
  }

  onRenewed(listener: (material: TlsMaterial) => void): void {
    this.#listeners.add(listener);
  }

  /**
   * Looks at the files now. Resolves with whether they were renewed. Files that do not fit together, as while they
   * are being replaced, change nothing: they are logged once and looked at again later. Connections that are open
   * keep what they were opened with.
   */
  reload(): Promise<boolean> {
    this.#reloading ??= this.#reload().finally(() => {
      this.#reloading = undefined;
    });
    return this.#reloading;
  }

  close(): void {
    this.#stopWatching();
    this.#listeners.clear();
  }

  async #reload(): Promise<boolean> {
    const { logger } = this.#options;
    this.#expiryWatch.look(this.#expiry);
    try {
      const { cert, key, ca } = this.#current;
      const material = await read(this.#files);
      this.#refusal = undefined;
      if (material.cert === cert && material.key === key && material.ca === ca) return false;
      this.#current = material;
      this.#expiry = expiryOf(material);
      this.#expiryWatch.renewed();
      this.#expiryWatch.look(this.#expiry);
      for (const listener of this.#listeners) listener(material);
      const { validTo } = new X509Certificate(material.cert);
      logger.info({ certFile: this.#files.certFile, validTo }, "certificates were renewed");
      return true;
    } catch (error) {
      const refusal = error instanceof Error ? error.message : String(error);
      if (refusal !== this.#refusal) {
        logger.error({ error: refusal }, "renewed certificates are of no use: the previous ones are kept");
      }
      this.#refusal = refusal;
      return false;
    }
  }
}

async function read(files: TlsOptions): Promise<TlsMaterial> {
  const [cert, key, ca] = await Promise.all([
    readPem(files.certFile, "certificate"),
    readPem(files.keyFile, "key"),
    files.caFile === undefined ? undefined : readPem(files.caFile, "authorities"),
  ]);
  const material = { cert, key, ...(ca === undefined ? {} : { ca }) };
  requireUsable(material, `${files.certFile} and ${files.keyFile}`);
  if (ca !== undefined) requireCertificate(ca, files.caFile ?? "");
  return material;
}

async function readPem(path: string, what: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new TlsConfigInvalid(`the TLS ${what} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

/** @throws TlsConfigInvalid naming `where` when certificate and key are none, or not a pair. */
function requireUsable({ cert, key }: TlsMaterial, where: string): void {
  requireCertificate(cert, where);
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    throw new TlsConfigInvalid(
      `${where} are no certificate and its private key, both PEM and without a passphrase: ${messageOf(error)}`,
      { cause: error },
    );
  }
}

function requireCertificate(pem: string, where: string): void {
  try {
    new X509Certificate(pem);
  } catch (error) {
    throw new TlsConfigInvalid(`${where}: no PEM certificate in it: ${messageOf(error)}`, { cause: error });
  }
}

/** Lists of peer names are mostly the same on every node: whoever is not on its own will be refused by the others. */
function warnOfOwnName({ cert }: TlsMaterial, { certFile, peerNames }: TlsOptions, logger: Logger): void {
  if (peerNames === undefined) return;
  const { subject, subjectAltName = "" } = new X509Certificate(cert);
  const names = new Set([
    ...subject.split("\n").flatMap((part) => (part.startsWith("CN=") ? [part.slice(3)] : [])),
    ...subjectAltName.split(", ").flatMap((part) => (part.startsWith("DNS:") ? [part.slice(4)] : [])),
  ]);
  if (peerNames.some((name) => names.has(name))) return;
  logger.warn(
    { certFile, names: [...names], peerNames },
    "this node's own certificate holds none of the allowed peer names: peers with the same list will refuse it",
  );
}

/** Options of a TLS listener: with an authority, only clients that it signed get in, unless certificates are optional. */
export function serverTls({ cert, key, ca }: TlsMaterial, optionalClientCertificates = false) {
  return ca === undefined
    ? { cert, key }
    : { cert, key, ca, requestCert: true, rejectUnauthorized: !optionalClientCertificates };
}

/** What a client connects with. @throws TlsConfigInvalid when certificate and key do not fit or one is missing. */
export function clientTls({ ca, cert, key }: ClientTls): { ca?: string; cert?: string; key?: string } {
  if (ca !== undefined) requireCertificate(ca, "the authorities of the cluster");
  if (cert === undefined && key === undefined) return ca === undefined ? {} : { ca };
  if (cert === undefined || key === undefined) {
    throw new TlsConfigInvalid(
      `a client's ${cert === undefined ? "key needs its certificate" : "certificate needs its key"}`,
    );
  }
  requireUsable({ cert, key }, "the client's certificate and key");
  return { ...(ca === undefined ? {} : { ca }), cert, key };
}

/**
 * Without TLS, everything has to stay on this machine.
 * @throws TlsConfigInvalid naming the address that does not.
 */
export function requireLoopback(addresses: Readonly<Record<string, HostAndPort | undefined>>): void {
  for (const [name, address] of Object.entries(addresses)) {
    if (address === undefined || isLoopbackHost(address.host)) continue;
    throw new TlsConfigInvalid(
      `${name} ${formatAddress(address)} is reached from other machines, but without TLS anybody there could read and change everything: ` +
        "give this node certificates (tls; --tls-cert, --tls-key, --tls-ca), or say that the network is to be trusted (insecurePeers; --insecure-peers)",
    );
  }
}

/** Whether what listens there, or is dialled there, stays on this machine. */
export function isLoopbackHost(host: string): boolean {
  if (isIPv6(host)) return host === "::1" || /^::ffff:127\./i.test(host);
  return host === "localhost" || /^127\.\d+\.\d+\.\d+$/.test(host);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
