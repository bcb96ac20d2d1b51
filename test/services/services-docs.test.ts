// docs/services.md names every call of every service that clients have, once, and none that there is not.

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import {
  KvService,
  RaftAdminService,
  RaftClientService,
  RaftMetricsService,
} from "../../src/gen/service_pb.js";

test("docs/services.md says of every call who answers it", () => {
  const text = readFileSync(new URL("../../docs/services.md", import.meta.url), "utf8");
  const section = text.slice(text.indexOf("## Who answers"), text.indexOf("## Changes of the membership"));
  const documented = [...section.matchAll(/^\| (`.*?) \| the /gm)].flatMap(([, calls = ""]) =>
    [...calls.matchAll(/`(\w+\/\w+)`/g)].map(([, call]) => call),
  );
  const served = [KvService, RaftClientService, RaftAdminService, RaftMetricsService].flatMap((service) =>
    service.methods.map(({ name }) => `${service.name}/${name}`),
  );
  expect(documented.toSorted()).toEqual(served.toSorted());
});
