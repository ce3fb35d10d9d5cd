//! How clients come in and how we go on to the backend: compression, plugins, certificates, addresses.

mod compression;
