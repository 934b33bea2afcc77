;; A guest with a method for each thing that a guest might do to its host. The numbers are those of
;; `tests.rs`. A frame is at 1024, so its method is at 1052 and its payload at 1064; what replies is
;; at 0, or where $at says.
(module
  (import "quorate_v1" "next" (func $next (param i32 i32 i32 i32 i32) (result i64)))
  (import "quorate_v1" "kv_get" (func $get (param i32 i32 i32 i32) (result i64)))
  (import "quorate_v1" "kv_put" (func $put (param i32 i32 i32 i32)))
  (import "quorate_v1" "kv_delete" (func $delete (param i32 i32) (result i64)))
  (import "quorate_v1" "kv_delete_range" (func $delete_range (param i32 i32 i32 i32) (result i64)))
  (import "quorate_v1" "kv_scan" (func $scan (param i32 i32 i32 i32 i32 i32 i32 i32) (result i64)))
  (import "quorate_v1" "log" (func $log (param i32 i32 i32)))
  (import "quorate_v1" "abort" (func $abort (param i32 i32 i32)))

  (memory (export "memory") 2)
  (table 1 funcref)
  (type $nothing (func))
  (global $at (mut i32) (i32.const 0))
  (global $len (mut i32) (i32.const 0))
  (global $counter (mut i32) (i32.const 0))
  (global $trap_on_exit (mut i32) (i32.const 0))
  (global $cap (mut i32) (i32.const 4096))

  (func (export "quorate_abi_v1"))
  (func (export "quorate_apply") (call $serve))
  (func (export "quorate_query") (call $serve))

  (func $serve (local $got i64) (local $verdict i32)
    (loop $again
      (local.set $got (call $next (local.get $verdict) (global.get $at) (global.get $len)
                                  (i32.const 1024) (global.get $cap)))
      (if (i64.eq (local.get $got) (i64.const -1))
        (then (if (global.get $trap_on_exit) (then (unreachable))) (return)))
      (global.set $at (i32.const 0))
      (global.set $len (i32.const 0))
      (local.set $verdict (i32.const 0))
      ;; Longer than the buffer: ask again, with more room.
      (if (i64.gt_u (local.get $got) (i64.extend_i32_u (global.get $cap)))
        (then (global.set $cap (i32.wrap_i64 (local.get $got))) (br $again)))
      (if (i32.eq (i32.load (i32.const 1052)) (i32.const 14)) (then (return)))
      (local.set $verdict (call $handle (i32.load (i32.const 1052))))
      (br $again)))

  (func $arg (param $n i32) (result i32)
    (i32.load offset=1068 (i32.mul (local.get $n) (i32.const 4))))

  (func $reply_i64 (param $value i64)
    (i64.store (i32.const 0) (local.get $value))
    (global.set $len (i32.const 8)))

  (func $recurse (param i32) (result i32)
    (i32.add (call $recurse (i32.add (local.get 0) (i32.const 1))) (local.get 0)))

  ;; Calls the import that the payload names, with the arguments that it gives.
  (func $call
    (block $abort (block $log (block $scan (block $range (block $delete (block $put (block $get
      (block $next
        (br_table $next $get $put $delete $range $scan $log $abort (i32.load (i32.const 1064))))
      (call $reply_i64 (call $next (call $arg (i32.const 0)) (call $arg (i32.const 1))
        (call $arg (i32.const 2)) (call $arg (i32.const 3)) (call $arg (i32.const 4))))
      (return))
      (call $reply_i64 (call $get (call $arg (i32.const 0)) (call $arg (i32.const 1))
        (call $arg (i32.const 2)) (call $arg (i32.const 3))))
      (return))
      (call $put (call $arg (i32.const 0)) (call $arg (i32.const 1))
        (call $arg (i32.const 2)) (call $arg (i32.const 3)))
      (return))
      (call $reply_i64 (call $delete (call $arg (i32.const 0)) (call $arg (i32.const 1))))
      (return))
      (call $reply_i64 (call $delete_range (call $arg (i32.const 0)) (call $arg (i32.const 1))
        (call $arg (i32.const 2)) (call $arg (i32.const 3))))
      (return))
      (call $reply_i64 (call $scan (call $arg (i32.const 0)) (call $arg (i32.const 1))
        (call $arg (i32.const 2)) (call $arg (i32.const 3)) (call $arg (i32.const 4))
        (call $arg (i32.const 5)) (call $arg (i32.const 6)) (call $arg (i32.const 7))))
      (return))
      (call $log (call $arg (i32.const 0)) (call $arg (i32.const 1)) (call $arg (i32.const 2)))
      (return))
    (call $abort (call $arg (i32.const 0)) (call $arg (i32.const 1)) (call $arg (i32.const 2))))

  ;; Returns the verdict.
  (func $handle (param $method i32) (result i32) (local $i i32)
    ;; 1: put the key that is the payload's first byte; reply with all of the payload
    (if (i32.eq (local.get $method) (i32.const 1)) (then
      (call $put (i32.const 1064) (i32.const 1)
        (i32.const 1065) (i32.sub (i32.load (i32.const 1056)) (i32.const 1)))
      (global.set $at (i32.const 1064))
      (global.set $len (i32.load (i32.const 1056)))
      (return (i32.const 1))))
    ;; 2: reply with the value of the key that is the payload
    (if (i32.eq (local.get $method) (i32.const 2)) (then
      (global.set $at (i32.const 8192))
      (local.set $i (i32.wrap_i64 (call $get (i32.const 1064) (i32.load (i32.const 1056))
        (i32.const 8192) (i32.const 4096))))
      (global.set $len (select (local.get $i) (i32.const 0)
        (i32.ge_s (local.get $i) (i32.const 0))))
      (return (i32.const 1))))
    (if (i32.eq (local.get $method) (i32.const 3)) (then (unreachable)))
    (if (i32.eq (local.get $method) (i32.const 4)) (then (loop $forever (br $forever))))
    ;; 5: grow the memory until the host says no
    (if (i32.eq (local.get $method) (i32.const 5)) (then
      (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
      (return (i32.const 1))))
    ;; 6: grow it to more than 32 bits can address
    (if (i32.eq (local.get $method) (i32.const 6)) (then
      (drop (memory.grow (i32.const 1)))
      (drop (memory.grow (i32.const 65535)))
      (return (i32.const 1))))
    (if (i32.eq (local.get $method) (i32.const 7)) (then
      (drop (call $recurse (i32.const 0)))
      (return (i32.const 1))))
    ;; 8: a reply of the length in the payload
    (if (i32.eq (local.get $method) (i32.const 8)) (then
      (drop (memory.grow (i32.const 128)))
      (global.set $len (i32.load (i32.const 1064)))
      (return (i32.const 1))))
    ;; 9: put, then refuse with the status that is the payload
    (if (i32.eq (local.get $method) (i32.const 9)) (then
      (call $put (i32.const 1024) (i32.const 1) (i32.const 1024) (i32.const 1))
      (global.set $at (i32.const 1064))
      (global.set $len (i32.load (i32.const 1056)))
      (return (i32.const 2))))
    ;; 11: put the key that is the payload, then break off
    (if (i32.eq (local.get $method) (i32.const 11)) (then
      (call $put (i32.const 1064) (i32.load (i32.const 1056)) (i32.const 0) (i32.const 4))
      (unreachable)))
    (if (i32.eq (local.get $method) (i32.const 12)) (then
      (call $call)
      (return (i32.const 1))))
    ;; 13: how often this was called in this instance: by a global and by memory
    (if (i32.eq (local.get $method) (i32.const 13)) (then
      (global.set $counter (i32.add (global.get $counter) (i32.const 1)))
      (i32.store (i32.const 512) (i32.add (i32.load (i32.const 512)) (i32.const 1)))
      (i32.store (i32.const 0) (global.get $counter))
      (i32.store (i32.const 4) (i32.load (i32.const 512)))
      (global.set $len (i32.const 8))
      (return (i32.const 1))))
    ;; 15: the verdict in the payload
    (if (i32.eq (local.get $method) (i32.const 15)) (then
      (return (i32.load (i32.const 1064)))))
    (if (i32.eq (local.get $method) (i32.const 18)) (then
      (global.set $trap_on_exit (i32.const 1))
      (return (i32.const 1))))
    (if (i32.eq (local.get $method) (i32.const 19)) (then
      (loop $more (br_if $more
        (i32.ne (table.grow (ref.null func) (i32.const 1000)) (i32.const -1))))
      (return (i32.const 1))))
    ;; 20: count to the number in the payload
    (if (i32.eq (local.get $method) (i32.const 20)) (then
      (loop $count
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $count (i32.lt_u (local.get $i) (i32.load (i32.const 1064)))))
      (return (i32.const 1))))
    (if (i32.eq (local.get $method) (i32.const 21)) (then
      (drop (i32.div_u (i32.const 1) (i32.load (i32.const 512))))
      (return (i32.const 1))))
    (if (i32.eq (local.get $method) (i32.const 22)) (then
      (drop (i32.load (i32.const -8)))
      (return (i32.const 1))))
    (if (i32.eq (local.get $method) (i32.const 23)) (then
      (call_indirect (type $nothing) (i32.const 0))
      (return (i32.const 1))))
    ;; 24: the bits of 0/0
    (if (i32.eq (local.get $method) (i32.const 24)) (then
      (i32.store (i32.const 0) (i32.reinterpret_f32
        (f32.div (f32.load (i32.const 512)) (f32.load (i32.const 512)))))
      (global.set $len (i32.const 4))
      (return (i32.const 1))))
    ;; 25: fixed SIMD, on any CPU
    (if (i32.eq (local.get $method) (i32.const 25)) (then
      (v128.store (i32.const 0) (i8x16.popcnt (f32x4.ceil (v128.const f32x4 0.5 1.5 2.5 3.5))))
      (global.set $len (i32.const 16))
      (return (i32.const 1))))
    ;; 26: what 12 does, as often as the word behind the eight arguments says
    (if (i32.eq (local.get $method) (i32.const 26)) (then
      (loop $count
        (call $call)
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $count (i32.lt_u (local.get $i) (i32.load (i32.const 1100)))))
      (return (i32.const 1))))
    (return (i32.const 1)))

  (@custom "quorate_v1" "MANIFEST"))
