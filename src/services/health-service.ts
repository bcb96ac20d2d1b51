// grpc.health.v1.Health: the readiness of this node, for every service that it has and for "", which is all of them.

import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import {
  Health,
  type HealthCheckResponse,
  HealthCheckResponse_ServingStatus,
} from "../gen/grpc/health/v1/health_pb.js";
import type { Clock } from "../node/ports.js";
import type { LeaderCalls } from "./leader-calls.js";
import { pause } from "./pause.js";
import type { Readiness } from "./readiness.js";

export interface HealthRoutesOptions {
  readonly readiness: Readiness;
  readonly calls: LeaderCalls;
  readonly clock: Clock;
  /** The names of the services here, as in `raftnode.v1.KvService`. */
  readonly services: () => Iterable<string>;
  /** How often `Watch` looks. Default 1,000. */
  readonly intervalMs?: number | undefined;
  /** Watches at a time; more are refused. Default 1,000. */
  readonly maxWatches?: number | undefined;
}

type Status = Pick<HealthCheckResponse, "status">;

const { SERVING, NOT_SERVING, SERVICE_UNKNOWN } = HealthCheckResponse_ServingStatus;
const DEFAULT_INTERVAL_MS = 1_000;
const DEFAULT_MAX_WATCHES = 1_000;

/** Mounts grpc.health.v1.Health on a Connect router. */
export function healthRoutes(options: HealthRoutesOptions): (router: ConnectRouter) => void {
  const { readiness, calls, maxWatches = DEFAULT_MAX_WATCHES, intervalMs = DEFAULT_INTERVAL_MS } = options;
  const isKnown = (service: string) => service === "" || [...options.services()].includes(service);
  const look = async (): Promise<Status> => {
    const { ready } = await readiness.check();
    return { status: ready ? SERVING : NOT_SERVING };
  };
  let watches = 0;

  async function* watch(service: string, signal: AbortSignal): AsyncGenerator<Status> {
    if (watches >= maxWatches) {
      throw new ConnectError(`${watches} health watches are open on this node`, Code.ResourceExhausted);
    }
    watches += 1;
    try {
      let last: HealthCheckResponse_ServingStatus | undefined;
      while (!signal.aborted) {
        const now = isKnown(service) ? await look() : { status: SERVICE_UNKNOWN };
        if (now.status !== last) yield now;
        last = now.status;
        await pause(options.clock, intervalMs, signal);
      }
    } finally {
      watches -= 1;
    }
  }

  return (router) =>
    router.service(Health, {
      check: async ({ service }) => {
        if (!isKnown(service)) throw new ConnectError(`there is no service ${service} here`, Code.NotFound);
        return look();
      },
      watch: ({ service }, context) => calls.stream(context, (signal) => watch(service, signal)),
    });
}
