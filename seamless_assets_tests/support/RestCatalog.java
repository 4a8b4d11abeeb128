import java.io.File;
import java.net.InetAddress;
import java.util.Map;
import org.apache.iceberg.Files;
import org.apache.iceberg.io.FileIO;
import org.apache.iceberg.io.InputFile;
import org.apache.iceberg.io.OutputFile;
import org.apache.iceberg.jdbc.JdbcCatalog;
import org.apache.iceberg.rest.RESTCatalogAdapter;
import org.apache.iceberg.rest.RESTCatalogServlet;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.servlet.ServletContextHandler;
import org.eclipse.jetty.servlet.ServletHolder;
import java.net.InetSocketAddress;

/** Iceberg's own servlet of a REST catalog, over files of this machine: arguments are the port and a folder. */
public class RestCatalog {
  public static class LocalFiles implements FileIO {
    private static File file(String path) {
      return new File(path.replaceFirst("^file:/+", "/"));
    }
    public InputFile newInputFile(String path) {
      return Files.localInput(file(path));
    }
    public OutputFile newOutputFile(String path) {
      return Files.localOutput(file(path));
    }
    public void deleteFile(String path) {
      file(path).delete();
    }
  }

  public static void main(String[] args) throws Exception {
    JdbcCatalog catalog = new JdbcCatalog(properties -> new LocalFiles(), null, true);
    catalog.initialize(
        "rest",
        Map.of(
            "uri", "jdbc:sqlite:" + args[1] + "/rest.sqlite",
            "warehouse", args[1],
            "jdbc.schema-version", "V1"));
    ServletContextHandler handler = new ServletContextHandler();
    handler.addServlet(new ServletHolder(new RESTCatalogServlet(new RESTCatalogAdapter(catalog))), "/*");
    Server server = new Server(new InetSocketAddress(InetAddress.getLoopbackAddress(), Integer.parseInt(args[0])));
    server.setHandler(handler);
    server.start();
    server.join();
  }
}
