//! A module's bytes as sections, to be changed and put together again.

/// What every module begins with: the magic number and the version.
pub const HEADER: &[u8] = b"\0asm\x01\0\0\0";

/// The number of a section, for those that are changed here.
pub mod id {
    /// What has a name and no meaning to WebAssembly.
    pub const CUSTOM: u8 = 0;
    /// Signatures.
    pub const TYPE: u8 = 1;
    /// The signature of each function that is not imported.
    pub const FUNCTION: u8 = 3;
    /// What is exported.
    pub const EXPORT: u8 = 7;
    /// The body of each function that is not imported.
    pub const CODE: u8 = 10;
}

/// A section of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it is; see [`id`].
    pub id: u8,
    /// Its bytes, without number and length.
    pub content: Vec<u8>,
}

impl Section {
    /// A custom section.
    pub fn custom(name: &str, data: &[u8]) -> Self {
        let mut content = Vec::new();
        write_u32(&mut content, length(name.len()));
        content.extend_from_slice(name.as_bytes());
        content.extend_from_slice(data);
        Self { id: id::CUSTOM, content }
    }

    /// The data of a custom section of that name.
    pub fn data_of(&self, name: &str) -> Option<&[u8]> {
        let (len, rest) = read_u32(&self.content)?;
        let (found, data) = rest.split_at_checked(usize::try_from(len).ok()?)?;
        (self.id == id::CUSTOM && found == name.as_bytes()).then_some(data)
    }

    /// How many items it has, when it is a list.
    pub fn count(&self) -> Option<u32> {
        read_u32(&self.content).map(|(count, _)| count)
    }

    /// Adds encoded items at its end, when it is a list.
    pub fn append(&mut self, items: &[Vec<u8>]) -> Option<()> {
        let (count, rest) = read_u32(&self.content)?;
        let mut content = Vec::new();
        write_u32(&mut content, count + length(items.len()));
        content.extend_from_slice(rest);
        content.extend(items.iter().flatten());
        self.content = content;
        Some(())
    }
}

/// The sections of a module; `None` when the bytes are no row of sections.
pub fn split(wasm: &[u8]) -> Option<Vec<Section>> {
    let mut rest = wasm.strip_prefix(HEADER)?;
    let mut sections = Vec::new();
    while let Some((&id, tail)) = rest.split_first() {
        let (len, tail) = read_u32(tail)?;
        let (content, tail) = tail.split_at_checked(usize::try_from(len).ok()?)?;
        sections.push(Section { id, content: content.to_vec() });
        rest = tail;
    }
    Some(sections)
}

/// A module of these sections, in this order, be it right or not.
pub fn join(sections: &[Section]) -> Vec<u8> {
    let mut wasm = HEADER.to_vec();
    for section in sections {
        wasm.push(section.id);
        write_u32(&mut wasm, length(section.content.len()));
        wasm.extend_from_slice(&section.content);
    }
    wasm
}

/// Reads a number in LEB128; returns it and what follows.
pub fn read_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut number = 0_u64;
    for at in 0..5 {
        let byte = *bytes.get(at)?;
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(number).ok()?, &bytes[at + 1..]));
        }
    }
    None
}

/// Writes a number in LEB128.
pub fn write_u32(out: &mut Vec<u8>, mut number: u32) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

fn length(len: usize) -> u32 {
    u32::try_from(len).expect("modules here are small")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_its_sections() {
        let sections = split(quorate_modules::KV_MODULE).unwrap();
        assert_eq!(join(&sections), quorate_modules::KV_MODULE);
        let name = quorate_abi::MANIFEST_SECTION;
        assert!(sections.iter().any(|section| section.data_of(name).is_some()));
    }

    #[test]
    fn numbers_survive() {
        for number in [0, 1, 127, 128, 300, 1 << 21, u32::MAX] {
            let mut bytes = Vec::new();
            write_u32(&mut bytes, number);
            bytes.push(7);
            assert_eq!(read_u32(&bytes), Some((number, &[7][..])));
        }
        assert_eq!(read_u32(&[0x80; 9]), None);
        assert_eq!(read_u32(&[0x80]), None);
    }
}
