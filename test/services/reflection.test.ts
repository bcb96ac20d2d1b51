// gRPC server reflection of a real node over real sockets, in both versions and protocols: from what it answers alone a
// client that has no proto files makes a call.

import {
  createFileRegistry,
  type DescService,
  fromBinary,
  isMessage,
  type Message,
} from "@bufbuild/protobuf";
import {
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";
import { Code, createClient } from "@connectrpc/connect";
import { describe, expect, onTestFinished, test } from "vitest";
import { ServerReflection } from "../../src/gen/grpc/reflection/v1/reflection_pb.js";
import { ServerReflection as ServerReflectionAlpha } from "../../src/gen/grpc/reflection/v1alpha/reflection_pb.js";
import { errorDetail } from "../../src/services/connect-errors.js";
import { errorOf, PROTOCOLS, type Protocol, startGroup, transportTo } from "./nodes.js";

/** Of either version. */
type Question =
  | {
      readonly case: "listServices" | "fileByFilename" | "fileContainingSymbol" | "allExtensionNumbersOfType";
      readonly value: string;
    }
  | {
      readonly case: "fileContainingExtension";
      readonly value: { readonly containingType: string; readonly extensionNumber: number };
    }
  | { readonly case: undefined };

const VERSIONS = { v1: ServerReflection, v1alpha: ServerReflectionAlpha } as const;
const CASES = Object.keys(VERSIONS).flatMap((version) =>
  PROTOCOLS.map((protocol) => [version, protocol] as const),
);

async function ask(
  at: Parameters<typeof transportTo>[0],
  version: string,
  protocol: Protocol,
  questions: Question[],
) {
  const transport = transportTo(at, protocol);
  const requests = async function* () {
    for (const messageRequest of questions) yield { host: "here", messageRequest };
  };
  const answers = [];
  const stream =
    version === "v1"
      ? createClient(ServerReflection, transport).serverReflectionInfo(requests())
      : createClient(ServerReflectionAlpha, transport).serverReflectionInfo(requests());
  for await (const answer of stream) answers.push(answer);
  return answers;
}

describe.each(CASES)("reflection %s over %s", (version, protocol) => {
  test("lists the services, and describes each so that it can be called", async () => {
    const { leader } = await startGroup(1);
    const [list] = await ask(leader, version, protocol, [{ case: "listServices", value: "" }]);
    expect(list?.validHost).toBe("here");
    expect(list?.originalRequest?.messageRequest.case).toBe("listServices");
    const names =
      list?.messageResponse.case === "listServicesResponse"
        ? list.messageResponse.value.service.map(({ name }) => name)
        : [];
    expect([...names].sort()).toEqual([
      "grpc.health.v1.Health",
      "grpc.reflection.v1.ServerReflection",
      "grpc.reflection.v1alpha.ServerReflection",
      "raftnode.v1.RaftAdminService",
      "raftnode.v1.RaftMetricsService",
    ]);

    const described = await ask(
      leader,
      version,
      protocol,
      names.map((value) => ({ case: "fileContainingSymbol" as const, value })),
    );
    const files = new Map<string, FileDescriptorProto>();
    for (const { messageResponse } of described) {
      if (messageResponse.case !== "fileDescriptorResponse") throw new Error("not described");
      for (const bytes of messageResponse.value.fileDescriptorProto) {
        const file = fromBinary(FileDescriptorProtoSchema, bytes);
        files.set(file.name, file);
      }
    }
    const registry = createFileRegistry({
      $typeName: FileDescriptorSetSchema.typeName,
      file: [...files.values()],
    });
    const service: DescService | undefined = registry.getService("raftnode.v1.RaftMetricsService");
    if (service === undefined) throw new Error("not described");
    const method = service.methods.find(({ name }) => name === "Members");
    if (method === undefined) throw new Error("no such method");
    const answer = await transportTo(leader, protocol).unary(
      { ...method, methodKind: "unary" },
      undefined,
      undefined,
      undefined,
      {},
    );
    const message: Message = answer.message;
    expect(isMessage(message) && "clusterId" in message ? message.clusterId : undefined).toBe("services");
  });

  test("finds files by their name and by what is in them, and says what is not there", async () => {
    const { leader } = await startGroup(1);
    const symbols = [
      "raftnode.v1.KvService",
      "raftnode.v1.KvService.Get",
      ".raftnode.v1.GetRequest",
      "raftnode.v1.GetRequest.consistency",
      "raftnode.v1.ReadConsistency",
      "raftnode.v1.ErrorDetail.Outcome",
    ];
    const answers = await ask(leader, version, protocol, [
      { case: "fileByFilename", value: "service.proto" },
      ...symbols.map((value) => ({ case: "fileContainingSymbol" as const, value })),
    ]);
    const first = answers[0]?.messageResponse;
    expect(first?.case).toBe("fileDescriptorResponse");
    for (const { messageResponse } of answers) expect(messageResponse).toEqual(first);

    const missing = await ask(leader, version, protocol, [
      { case: "fileByFilename", value: "nowhere.proto" },
      { case: "fileContainingSymbol", value: "raftnode.v1.KvService.Nothing" },
      { case: "fileContainingSymbol", value: "" },
      {
        case: "fileContainingExtension",
        value: { containingType: "x", extensionNumber: 1 },
      },
      { case: "allExtensionNumbersOfType", value: "raftnode.v1.Nothing" },
      { case: undefined },
    ]);
    expect(
      missing.map(({ messageResponse }) =>
        messageResponse.case === "errorResponse" ? messageResponse.value.errorCode : 0,
      ),
    ).toEqual([...Array(5).fill(Code.NotFound), Code.InvalidArgument]);
  });
});

test("a conversation in which nothing is asked any more ends when the node stops", async () => {
  const { leader } = await startGroup(1);
  let release: () => void = () => {};
  const never = new Promise<void>((resolve) => {
    release = resolve;
  });
  onTestFinished(() => release());
  const client = createClient(ServerReflection, transportTo(leader, "gRPC"));
  const requests = async function* () {
    yield { messageRequest: { case: "listServices" as const, value: "" } };
    await never;
  };
  const stream = client.serverReflectionInfo(requests())[Symbol.asyncIterator]();
  await stream.next();
  const end = errorOf(stream.next());
  await leader.close();
  expect(errorDetail(await end)?.reason).toBe("shuttingDown");
});
