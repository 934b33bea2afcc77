/* Each method hands its payload to one of the header's helpers, and shows what came of it. */
#include "quorate.h"

static void write_u32(quorate_writer *writer, uint32_t value)
{
    quorate_write(writer, (quorate_bytes){(const uint8_t *)&value, sizeof value});
}

static void write_u64(quorate_writer *writer, uint64_t value)
{
    quorate_write(writer, (quorate_bytes){(const uint8_t *)&value, sizeof value});
}

/* A number and some bytes off the front of the payload. */
static uint32_t take_u32(quorate_bytes *rest)
{
    quorate_bytes taken;
    if (!quorate_take(rest, 4, &taken))
        quorate_abort("the payload is too short");
    return quorate_read_u32(taken.data);
}

static quorate_bytes take_bytes(quorate_bytes *rest)
{
    quorate_bytes taken;
    if (!quorate_take(rest, take_u32(rest), &taken))
        quorate_abort("the payload is too short");
    return taken;
}

static quorate_answer reply_u32(uint32_t value)
{
    quorate_writer reply = {0};
    write_u32(&reply, value);
    return quorate_reply(quorate_written(&reply));
}

static quorate_answer show_frame(const quorate_frame *frame)
{
    quorate_writer reply = {0};
    write_u64(&reply, frame->index);
    write_u64(&reply, frame->time_ms);
    write_u64(&reply, frame->seed);
    write_u32(&reply, frame->position);
    write_u32(&reply, frame->method);
    quorate_write(&reply, frame->payload);
    return quorate_reply(quorate_written(&reply));
}

static quorate_answer get(quorate_bytes key)
{
    quorate_bytes value;
    if (!quorate_get(key, &value))
        return quorate_refuse(QUORATE_NOT_FOUND, QUORATE_BYTES("no such key"));
    return quorate_reply(value);
}

/* Flags, limit, room, both ends; then whether there is more, and the pairs. */
static quorate_answer scan(quorate_bytes rest)
{
    uint32_t flags = take_u32(&rest), limit = take_u32(&rest), cap = take_u32(&rest);
    quorate_bytes lo = take_bytes(&rest), hi = take_bytes(&rest), key, value;
    quorate_page page = quorate_scan(lo, hi, flags, limit, cap);
    quorate_writer reply = {0};
    write_u32(&reply, page.more);
    while (quorate_page_next(&page, &key, &value)) {
        write_u32(&reply, key.len);
        quorate_write(&reply, key);
        write_u32(&reply, value.len);
        quorate_write(&reply, value);
    }
    return quorate_reply(quorate_written(&reply));
}

/* Memory of that size, all of it written. */
static quorate_answer alloc(uint32_t len)
{
    volatile uint8_t *memory = quorate_alloc(len);
    for (uint32_t i = 0; i < len; i += 4096)
        memory[i] = 1;
    memory[len - 1] = 1;
    return reply_u32((uint32_t)__builtin_wasm_memory_size(0));
}

/* A byte for each of some strings. */
static quorate_answer are_utf8(quorate_bytes rest)
{
    quorate_writer reply = {0};
    while (rest.len > 0) {
        uint8_t is_utf8 = quorate_is_utf8(take_bytes(&rest));
        quorate_write(&reply, (quorate_bytes){&is_utf8, 1});
    }
    return quorate_reply(quorate_written(&reply));
}

/* A message as it is read, written again. */
static quorate_answer rewrite(quorate_bytes message)
{
    quorate_writer reply = {0};
    while (message.len > 0) {
        quorate_field field;
        if (!quorate_read_field(&message, &field))
            return quorate_refuse(QUORATE_INVALID_ARGUMENT, QUORATE_BYTES("malformed"));
        if (field.wire_type == QUORATE_LENGTH)
            quorate_write_bytes(&reply, field.number, field.bytes);
        else
            quorate_write_uint(&reply, field.number, field.value);
    }
    return quorate_reply(quorate_written(&reply));
}

static bool is(const quorate_frame *frame, const char *path)
{
    return frame->method == quorate_method_id(path);
}

static quorate_answer on_command(const quorate_frame *frame)
{
    quorate_bytes rest = frame->payload;
    if (is(frame, "probe.v1.Probe/Frame"))
        return show_frame(frame);
    if (is(frame, "probe.v1.Probe/Put")) {
        quorate_bytes key = take_bytes(&rest);
        quorate_put(key, rest);
        return quorate_reply(rest);
    }
    if (is(frame, "probe.v1.Probe/Get"))
        return get(rest);
    if (is(frame, "probe.v1.Probe/Delete"))
        return reply_u32(quorate_delete(rest));
    if (is(frame, "probe.v1.Probe/DeleteRange")) {
        quorate_bytes lo = take_bytes(&rest);
        return reply_u32((uint32_t)quorate_delete_range(lo, rest));
    }
    if (is(frame, "probe.v1.Probe/Scan"))
        return scan(rest);
    if (is(frame, "probe.v1.Probe/Refuse"))
        return quorate_refuse(take_u32(&rest), rest);
    if (is(frame, "probe.v1.Probe/Alloc"))
        return alloc(take_u32(&rest));
    if (is(frame, "probe.v1.Probe/IsUtf8"))
        return are_utf8(rest);
    if (is(frame, "probe.v1.Probe/Rewrite"))
        return rewrite(rest);
    quorate_log(QUORATE_LOG_DEBUG, QUORATE_BYTES("about to abort"));
    quorate_abort("as it was told");
}

/* Writes, if the key is "write": it may not. */
static quorate_answer on_query(const quorate_frame *frame)
{
    if (frame->payload.len == 5)
        quorate_put(frame->payload, frame->payload);
    return get(frame->payload);
}

QUORATE_PLUGIN(on_command, on_query)
