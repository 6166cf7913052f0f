# Makes .gem files of gems that are installed on this machine, native parts included: what `bundle package` would
# have fetched, for a builder without a network. Arguments: the directory to write to, and the gems' names.
require "rubygems/package"
require "tmpdir"
require "fileutils"

target, *names = ARGV
target = File.expand_path(target)
FileUtils.mkdir_p(target)
names.each do |name|
  installed = Gem::Specification.find_by_name(name)
  Dir.mktmpdir do |directory|
    Dir.chdir(directory) do
      FileUtils.mkdir_p(%w[lib bin])
      installed.full_require_paths.each { |path| FileUtils.cp_r("#{path}/.", "lib") if File.directory?(path) }
      installed.executables.each { |one| FileUtils.cp(File.join(installed.full_gem_path, installed.bindir, one), "bin") }
      made = Gem::Specification.new do |spec|
        spec.name, spec.version, spec.summary, spec.authors = name, installed.version, name, ["the tests"]
        spec.bindir, spec.executables = "bin", installed.executables
        spec.files = Dir["{lib,bin}/**/*"].select { |file| File.file?(file) }
        installed.runtime_dependencies.each { |one| spec.add_dependency(one.name, one.requirement) }
      end
      Gem::DefaultUserInteraction.use_ui(Gem::SilentUI.new) { FileUtils.mv(Gem::Package.build(made, true), target) }
    end
  end
end
