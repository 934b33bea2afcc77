"""Calls all of kv.v1.Kv with nothing of ours but the .proto: client.py WORKSPACE ADDRESS..."""

import importlib
import pathlib
import sys
import tempfile

import grpc
import grpc_tools
from grpc_tools import protoc

TIMEOUT_S = 10


def generate(workspace, out):
    """Generates the client's modules, as a user would."""
    includes = [
        workspace / "plugins/kv/proto",
        workspace / "proto",
        pathlib.Path(grpc_tools.__file__).parent / "_proto",
    ]
    arguments = ["protoc", *(f"-I{folder}" for folder in includes)]
    arguments += [f"--python_out={out}", f"--grpc_python_out={out}"]
    if protoc.main([*arguments, "kv/v1/kv.proto", "quorate/v1/options.proto"]) != 0:
        sys.exit("protoc refuses the .proto")
    sys.path.insert(0, str(out))
    modules = ["kv.v1.kv_pb2", "kv.v1.kv_pb2_grpc"]
    return [importlib.import_module(module) for module in modules]


def check(condition, what):
    """As assert, which -O would remove."""
    if not condition:
        sys.exit(f"failed: {what}")


def refused(code, method, request):
    """Fails unless the call is refused so; gives the error."""
    try:
        reply = method(request, timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        check(error.code() == code, f"{error.code()} instead of {code}: {error.details()}")
        return error
    sys.exit(f"failed: not refused: {request!r}: {reply!r}")


def place(metadata):
    """Where in the log it was decided."""
    found = dict(metadata)
    keys = ("quorate-index", "quorate-term", "quorate-node")
    check(all(key in found for key in keys), f"metadata {found}")
    return tuple(int(found[key]) for key in keys)


def story(pb, first, last):
    """All five methods; writes through one node, and reads through another."""
    put, call = first.Put.with_call(
        pb.PutRequest(key=b"a", value=b"1"), timeout=TIMEOUT_S
    )
    check(put.revision == 1 and not put.HasField("prev_kv"), put)
    put_index, put_term, put_node = place(call.trailing_metadata() + call.initial_metadata())
    check(put_index > 0 and put_term > 0 and put_node in (1, 2, 3), "the place of a Put")

    get, call = last.Get.with_call(pb.GetRequest(key=b"a"), timeout=TIMEOUT_S)
    check(get.revision == 1 and get.kv.value == b"1", get)
    get_index, _, get_node = place(call.trailing_metadata() + call.initial_metadata())
    check(get_index >= put_index, f"read at {get_index} after a write at {put_index}")
    check(get_node == 3, f"node {get_node} answered what node 3 was asked")
    get = last.Get(pb.GetRequest(key=b"nothing"), timeout=TIMEOUT_S)
    check(not get.HasField("kv"), get)

    compare = pb.Compare(key=b"a", op=pb.Compare.EQUAL, mod_revision=1)
    txn = pb.TxnRequest(
        compare=[compare],
        success=[
            pb.TxnOp(put=pb.PutRequest(key=b"a", value=b"2", prev_kv=True)),
            pb.TxnOp(put=pb.PutRequest(key=b"b", value=b"\x00\xff")),
        ],
        failure=[pb.TxnOp(get=pb.GetRequest(key=b"a"))],
    )
    done = first.Txn(txn, timeout=TIMEOUT_S)
    check(done.succeeded and done.revision == 2, done)
    check(done.responses[0].put.prev_kv.value == b"1", done)
    done = last.Txn(txn, timeout=TIMEOUT_S)
    check(not done.succeeded and done.responses[0].get.kv.value == b"2", done)

    found = last.Range(pb.RangeRequest(limit=1), timeout=TIMEOUT_S)
    check(found.more and [kv.key for kv in found.kvs] == [b"a"], found)
    found = last.Range(pb.RangeRequest(reverse=True), timeout=TIMEOUT_S)
    check([kv.value for kv in found.kvs] == [b"\x00\xff", b"2"], found)

    gone = first.Delete(pb.DeleteRequest(range=pb.KeyRange(), prev_kv=True), timeout=TIMEOUT_S)
    check(gone.deleted == 2 and gone.revision == 3 and len(gone.prev_kvs) == 2, gone)
    found = last.Range(pb.RangeRequest(count_only=True), timeout=TIMEOUT_S)
    check(found.count == 0 and found.revision == 3, found)


def refusals(pb, channel, stub):
    """What is asked wrongly."""
    code = grpc.StatusCode
    error = refused(code.INVALID_ARGUMENT, stub.Put, pb.PutRequest(value=b"1"))
    place(error.trailing_metadata() + (error.initial_metadata() or ()))
    refused(code.INVALID_ARGUMENT, stub.Put, pb.PutRequest(key=b"k" * 4001))
    refused(code.INVALID_ARGUMENT, stub.Get, pb.GetRequest())
    refused(code.INVALID_ARGUMENT, stub.Delete, pb.DeleteRequest())
    refused(code.INVALID_ARGUMENT, stub.Txn, pb.TxnRequest(success=[pb.TxnOp()]))
    refused(code.INVALID_ARGUMENT, stub.Put, pb.PutRequest(key=b"k", value=bytes(3 << 20)))

    def raw(path):
        method = channel.unary_unary(path, lambda request: request, lambda reply: reply)
        return lambda request, timeout: method(request, timeout=timeout)

    refused(code.INVALID_ARGUMENT, raw("/kv.v1.Kv/Put"), b"\xff\xff\xff")
    refused(code.INVALID_ARGUMENT, raw("/kv.v1.Kv/Get"), b"\x0a\x7f")
    refused(code.UNIMPLEMENTED, raw("/kv.v1.Kv/Take"), b"")
    refused(code.UNIMPLEMENTED, raw("/nobody.v1.Nothing/Put"), b"")


def main():
    workspace, *addresses = sys.argv[1:]
    with tempfile.TemporaryDirectory() as out:
        pb, pb_grpc = generate(pathlib.Path(workspace), out)
    channels = [grpc.insecure_channel(address) for address in addresses]
    stubs = [pb_grpc.KvStub(channel) for channel in channels]
    story(pb, stubs[0], stubs[-1])
    for channel, stub in zip(channels, stubs):
        refusals(pb, channel, stub)
    for channel in channels:
        channel.close()
    print("ok")


if __name__ == "__main__":
    main()
