//! Applies the rules of `tandem_tests::rules` to this workspace.

#![expect(clippy::unwrap_used, reason = "a check of the project's own files: what cannot be read has failed")]

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::fs;
use std::path::{Path, PathBuf};
use tandem_tests::{guards, rules};

fn metadata() -> Metadata {
    MetadataCommand::new().no_deps().manifest_path(root().join("Cargo.toml")).exec().unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file below `folder`, by its path from the root.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir()
            && !path.ends_with("target")
            && !path.ends_with("node_modules")
            && !path.ends_with(".work")
        {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn dependencies_follow_the_arrows() {
    let mut wrong = Vec::new();
    for package in metadata().packages {
        let uses: Vec<String> = package
            .dependencies
            .iter()
            .filter(|d| d.kind == DependencyKind::Normal)
            .map(|d| d.name.clone())
            .collect();
        wrong.extend(rules::wrong_dependencies(&package.name, &uses));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_row_is_a_crate_and_every_arrow_is_used() {
    let packages = metadata().packages;
    let mut idle = Vec::new();
    for (name, allowed) in rules::ARROWS {
        let package = packages.iter().find(|p| p.name == *name);
        let package = package.unwrap_or_else(|| panic!("{name} is in ARROWS but not in the workspace"));
        let mut files = Vec::new();
        for target in &package.targets {
            sources(target.src_path.parent().unwrap().as_std_path(), &mut files);
        }
        let code: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        let names = |used: &str| {
            let of = package.dependencies.iter().find(|d| d.name == used && d.kind == DependencyKind::Normal);
            of.map(|d| d.rename.clone().unwrap_or_else(|| d.name.replace('-', "_")))
        };
        idle.extend(rules::idle_arrows(name, allowed, names, &code));
    }
    assert!(idle.is_empty(), "\n{}", idle.join("\n"));
}

#[test]
fn sources_keep_the_rules() {
    let mut files = Vec::new();
    for folder in ["bins", "core", "profiles"] {
        sources(&root().join(folder), &mut files);
    }
    let code = |path: &PathBuf| path.components().any(|part| part.as_os_str() == "src");
    let files: Vec<_> = files.into_iter().filter(code).filter(|path| !path.ends_with("tests.rs")).collect();
    assert!(files.len() > 50, "only {} files were found", files.len());
    let mut sources = Vec::new();
    for file in files {
        let name = file.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        sources.push((name, fs::read_to_string(&file).unwrap()));
    }
    let mut wrong = rules::second_gates(&sources);
    wrong.extend(sources.iter().flat_map(|(name, text)| rules::wrong_source(name, text)));
    wrong.extend(sources.iter().flat_map(|(name, text)| guards::held_too_long(name, text)));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
