//! The text of the suite: the files of `benches/functions`.

/// Path and text of each file.
pub(super) const FILES: &[(&str, &str)] = &[
    ("python/aes_ctr.py", include_str!("../../../../benches/functions/python/aes_ctr.py")),
    (
        "python/compress_log.py",
        include_str!("../../../../benches/functions/python/compress_log.py"),
    ),
    ("python/dna_motifs.py", include_str!("../../../../benches/functions/python/dna_motifs.py")),
    (
        "python/event_records.py",
        include_str!("../../../../benches/functions/python/event_records.py"),
    ),
    ("python/function.py", include_str!("../../../../benches/functions/python/function.py")),
    ("python/graph_bfs.py", include_str!("../../../../benches/functions/python/graph_bfs.py")),
    ("python/html_page.py", include_str!("../../../../benches/functions/python/html_page.py")),
    (
        "python/image_thumbnail.py",
        include_str!("../../../../benches/functions/python/image_thumbnail.py"),
    ),
    ("python/json_dumps.py", include_str!("../../../../benches/functions/python/json_dumps.py")),
    ("python/json_loads.py", include_str!("../../../../benches/functions/python/json_loads.py")),
    ("python/mako_page.py", include_str!("../../../../benches/functions/python/mako_page.py")),
    (
        "python/review_features.py",
        include_str!("../../../../benches/functions/python/review_features.py"),
    ),
    (
        "python/sqlite_orders.py",
        include_str!("../../../../benches/functions/python/sqlite_orders.py"),
    ),
    (
        "python/requirements.txt",
        include_str!("../../../../benches/functions/python/requirements.txt"),
    ),
    ("node/crypto_tokens.js", include_str!("../../../../benches/functions/node/crypto_tokens.js")),
    ("node/csv_stream.js", include_str!("../../../../benches/functions/node/csv_stream.js")),
    ("node/function.js", include_str!("../../../../benches/functions/node/function.js")),
    ("node/html_page.js", include_str!("../../../../benches/functions/node/html_page.js")),
    ("node/image_png.js", include_str!("../../../../benches/functions/node/image_png.js")),
    ("node/json_orders.js", include_str!("../../../../benches/functions/node/json_orders.js")),
    ("node/markdown_page.js", include_str!("../../../../benches/functions/node/markdown_page.js")),
    ("node/zip_archive.js", include_str!("../../../../benches/functions/node/zip_archive.js")),
    ("node/package.json", include_str!("../../../../benches/functions/node/package.json")),
    ("cpp/compose_media.cpp", include_str!("../../../../benches/functions/cpp/compose_media.cpp")),
    ("cpp/function.hpp", include_str!("../../../../benches/functions/cpp/function.hpp")),
    ("cpp/movie_id.cpp", include_str!("../../../../benches/functions/cpp/movie_id.cpp")),
    ("cpp/unique_id.cpp", include_str!("../../../../benches/functions/cpp/unique_id.cpp")),
    ("cpp/user_mention.cpp", include_str!("../../../../benches/functions/cpp/user_mention.cpp")),
    ("rust/cart_quotes.rs", include_str!("../../../../benches/functions/rust/cart_quotes.rs")),
    ("suites/containers.sh", include_str!("../../../../benches/functions/suites/containers.sh")),
    ("suites/install.sh", include_str!("../../../../benches/functions/suites/install.sh")),
    ("suites/make.py", include_str!("../../../../benches/functions/suites/make.py")),
    (
        "suites/memcached_load.py",
        include_str!("../../../../benches/functions/suites/memcached_load.py"),
    ),
    ("suites/store.cpp", include_str!("../../../../benches/functions/suites/store.cpp")),
    ("suites/store_load.py", include_str!("../../../../benches/functions/suites/store_load.py")),
    ("suites/tarballs.txt", include_str!("../../../../benches/functions/suites/tarballs.txt")),
    ("suites/wheels.txt", include_str!("../../../../benches/functions/suites/wheels.txt")),
];

/// The known answers: `LANGUAGE/FUNCTION SIZE CHECKSUM BYTES`.
pub(super) const GOLDENS: &str = include_str!("../../../../benches/functions/goldens.txt");
