//! A record as it lies on disk: a CRC-32C, then the body. The checksum covers the key too, so that
//! a sound record in the wrong place is found out as well.

const CRC_BYTES: usize = 4;

/// The record of `key`, whose body `write` appends.
pub(super) fn seal(key: &[u8], write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut record = vec![0; CRC_BYTES];
    write(&mut record);
    let (crc, body) = record.split_at_mut(CRC_BYTES);
    crc.copy_from_slice(&checksum(key, body).to_le_bytes());
    record
}

/// The body of the record of `key`; `None` when it is not what was written.
pub(super) fn unseal<'a>(key: &[u8], record: &'a [u8]) -> Option<&'a [u8]> {
    let (crc, body) = record.split_first_chunk()?;
    (u32::from_le_bytes(*crc) == checksum(key, body)).then_some(body)
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let sound = seal(b"key", |record| record.extend_from_slice(b"body"));
        assert_eq!(unseal(b"key", &sound), Some(b"body".as_slice()));
        for bit in 0..sound.len() * 8 {
            let mut record = sound.clone();
            record[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(b"key", &record), None, "bit {bit}");
        }
    }

    #[test]
    fn a_record_under_another_key_or_cut_short_is_noticed() {
        let sound = seal(b"key", |record| record.extend_from_slice(b"body"));
        assert_eq!(unseal(b"kez", &sound), None);
        for bytes in 0..sound.len() {
            assert_eq!(unseal(b"key", &sound[..bytes]), None, "{bytes} bytes");
        }
    }
}
