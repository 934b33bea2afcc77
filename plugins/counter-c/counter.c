/* The tutorial plugin in C: counters by name, the same service as that of plugins/counter. It also
 * keeps the same state under the same keys, so that either can go on where the other stopped.
 */
#include "quorate.h"

#define NAME_BYTES_MAX 200

/* All requests have a name, and Add has a number too. */
typedef struct {
    quorate_bytes name;
    uint64_t by;
} counter_request;

/* False when the message is not one. Of a field that comes twice, the last one counts. */
static bool read_request(quorate_bytes message, counter_request *request)
{
    *request = (counter_request){{message.data, 0}, 0};
    while (message.len > 0) {
        quorate_field field;
        if (!quorate_read_field(&message, &field))
            return false;
        if (field.number == 1) {
            if (field.wire_type != QUORATE_LENGTH || !quorate_is_utf8(field.bytes))
                return false;
            request->name = field.bytes;
        } else if (field.number == 2) {
            if (field.wire_type != QUORATE_VARINT)
                return false;
            request->by = field.value;
        }
    }
    return true;
}

/* A counter's key: the collection's name, a zero byte, the counter's name. */
static quorate_bytes key_of(quorate_bytes name)
{
    quorate_writer key = {0};
    quorate_write(&key, (quorate_bytes){(const uint8_t *)"totals\0", 7});
    quorate_write(&key, name);
    return quorate_written(&key);
}

/* A message whose field 1 is the total: so are replies, and so is what is stored. */
static quorate_bytes total_message(uint64_t total)
{
    quorate_writer message = {0};
    quorate_write_uint(&message, 1, total);
    return quorate_written(&message);
}

static uint64_t total_of(quorate_bytes key)
{
    quorate_bytes stored;
    quorate_field field = {0};
    if (!quorate_get(key, &stored) || stored.len == 0)
        return 0;
    if (!quorate_read_field(&stored, &field) || field.number != 1)
        quorate_abort("`totals` holds another type");
    return field.value;
}

static quorate_answer add(const counter_request *request)
{
    if (request->name.len == 0 || request->name.len > NAME_BYTES_MAX)
        return quorate_refuse(QUORATE_INVALID_ARGUMENT,
                              QUORATE_BYTES("a counter's name has 1 to 200 bytes"));
    quorate_bytes key = key_of(request->name);
    uint64_t total;
    if (__builtin_add_overflow(total_of(key), request->by, &total))
        return quorate_refuse(QUORATE_OUT_OF_RANGE, QUORATE_BYTES("a counter ends at 2^64 - 1"));
    quorate_put(key, total_message(total));
    return quorate_reply(total_message(total));
}

static quorate_answer reset(const counter_request *request)
{
    quorate_bytes key = key_of(request->name);
    uint64_t total = total_of(key);
    quorate_delete(key);
    return quorate_reply(total_message(total));
}

static quorate_answer get(const counter_request *request)
{
    return quorate_reply(total_message(total_of(key_of(request->name))));
}

typedef quorate_answer method(const counter_request *request);

static quorate_answer call(method *method, quorate_bytes payload)
{
    counter_request request;
    if (!read_request(payload, &request))
        return quorate_refuse(QUORATE_INVALID_ARGUMENT, QUORATE_BYTES("not a valid request"));
    return method(&request);
}

static quorate_answer on_command(const quorate_frame *frame)
{
    if (frame->method == quorate_method_id("counter.v1.Counter/Add"))
        return call(add, frame->payload);
    if (frame->method == quorate_method_id("counter.v1.Counter/Reset"))
        return call(reset, frame->payload);
    return quorate_refuse(QUORATE_UNIMPLEMENTED, QUORATE_BYTES("there is no such command"));
}

static quorate_answer on_query(const quorate_frame *frame)
{
    if (frame->method == quorate_method_id("counter.v1.Counter/Get"))
        return call(get, frame->payload);
    return quorate_refuse(QUORATE_UNIMPLEMENTED, QUORATE_BYTES("there is no such query"));
}

QUORATE_PLUGIN(on_command, on_query)
