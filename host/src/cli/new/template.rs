//! The templates: the repository's own plugins, whose tests are the repository's. The list comes
//! from the files, see `build.rs`.

/// A plugin's sources.
#[derive(Debug)]
pub(super) struct Template {
    /// The plugin's folder, its library, the first part of its package, and its `.proto` file.
    pub(super) name: &'static str,
    /// All files: where they are in it, and what is in them.
    pub(super) files: &'static [(&'static str, &'static str)],
}

/// All of them.
pub(super) const TEMPLATES: &[Template] = include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// The template of that name.
pub(super) fn find(name: &str) -> Option<&'static Template> {
    TEMPLATES.iter().find(|template| template.name == name)
}

impl Template {
    /// What is in a file.
    pub(super) fn file(&self, path: &str) -> Option<&'static str> {
        self.files.iter().find(|(found, _)| *found == path).map(|(_, text)| *text)
    }

    /// The name of its service.
    pub(super) fn service(&self) -> &'static str {
        let proto = format!("proto/{0}/v1/{0}.proto", self.name);
        let service = self.file(&proto).and_then(|text| {
            text.lines().find_map(|line| line.strip_prefix("service ")?.split_whitespace().next())
        });
        service.expect("a test asks every template for it")
    }
}
