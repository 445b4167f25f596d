import com.mongodb.WriteConcern;
import com.mongodb.client.MongoClients;
import com.mongodb.client.MongoCollection;
import com.mongodb.client.model.InsertManyOptions;
import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.io.FileReader;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.function.Consumer;
import org.bson.Document;

/**
 * Debezium's embedded engine catching up with a change stream, timed.
 *
 * <p>Arguments: engine properties file, events to wait for, events before the clock starts, and, to have the JSON
 * inserted in bulk instead of thrown away, URI, database and collection. Prints one line: the nanoseconds that the
 * clock ran for the rest of the events, and the number of characters of JSON.
 */
public final class CatchUp {
    private final long events;
    private final long unclocked;
    private final Consumer<List<ChangeEvent<String, String>>> sink;
    private long seen;
    private long characters;
    private long startedAt;

    private CatchUp(long events, long unclocked, Consumer<List<ChangeEvent<String, String>>> sink) {
        this.events = events;
        this.unclocked = unclocked;
        this.sink = sink;
    }

    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        try (FileReader reader = new FileReader(arguments[0])) {
            properties.load(reader);
        }
        Consumer<List<ChangeEvent<String, String>>> sink = arguments.length > 3
            ? inserting(arguments[3], arguments[4], arguments[5]) : batch -> { };
        CatchUp run = new CatchUp(Long.parseLong(arguments[1]), Long.parseLong(arguments[2]), sink);
        DebeziumEngine.create(Json.class)
            .using(properties)
            .using((success, message, error) -> {
                System.err.println(message);
                System.exit(1);  // it is never to end by itself
            })
            .notifying(run::handle)
            .build()
            .run();
    }

    private void handle(
            List<ChangeEvent<String, String>> batch,
            DebeziumEngine.RecordCommitter<ChangeEvent<String, String>> committer) throws InterruptedException {
        sink.accept(batch);
        for (ChangeEvent<String, String> event : batch) {
            characters += event.value().length();
            committer.markProcessed(event);
        }
        committer.markBatchFinished();
        long before = seen;
        seen += batch.size();
        if (before <= unclocked && seen > unclocked) {
            startedAt = System.nanoTime();
            if (unclocked > 0) {
                System.out.println("clocked from " + seen);
            }
        }
        if (seen >= events) {
            System.out.println("done " + seen + " " + (System.nanoTime() - startedAt) + " " + characters);
            System.out.flush();
            Runtime.getRuntime().halt(0);
        }
    }

    /** As cheap as a sink can be: the JSON as one string, unordered, acknowledged by a majority. */
    private static Consumer<List<ChangeEvent<String, String>>> inserting(String uri, String database, String name) {
        MongoCollection<Document> target = MongoClients.create(uri)
            .getDatabase(database).getCollection(name).withWriteConcern(WriteConcern.MAJORITY);
        InsertManyOptions unordered = new InsertManyOptions().ordered(false);
        return batch -> {
            List<Document> documents = new ArrayList<>(batch.size());
            for (ChangeEvent<String, String> event : batch) {
                documents.add(new Document("event", event.value()));
            }
            target.insertMany(documents, unordered);
        };
    }
}
