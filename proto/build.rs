//! Compiles `eventflow/v1/*.proto` without protoc, with comments kept for reflection and for the SDK generator.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=eventflow");
    let mut files: Vec<PathBuf> =
        fs::read_dir("eventflow/v1")?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.sort();

    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    let descriptors = compiler.file_descriptor_set();

    #[expect(clippy::disallowed_methods, reason = "the only way to learn where a build script may write")]
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;

    let mut config = tonic_prost_build::Config::new();
    config.bytes(["."]);
    config.btree_map(["."]);
    config.skip_protoc_run();
    tonic_prost_build::configure()
        // A batch is encoded once by the broker and sent to many: see `src/batch.rs`.
        .extern_path(".eventflow.v1.EventBatch", "crate::EncodedBatch")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
